-- Signed statements about this database: that it was restored from a backup, when, and what was lost with that.
create table restorations (
    id integer primary key autoincrement,
    line blob not null
) strict;
