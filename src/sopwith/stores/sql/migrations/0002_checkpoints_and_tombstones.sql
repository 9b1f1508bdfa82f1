-- Signed statements about the log, as the lines that were also written elsewhere.

-- A checkpoint over the first `size` events; `frontier` is what the next one grows from.
create table checkpoints (
    size integer primary key,
    line blob not null,
    frontier blob not null
) strict;

-- Which payloads retention dropped, and when.
create table tombstones (
    id integer primary key autoincrement,
    line blob not null
) strict;
