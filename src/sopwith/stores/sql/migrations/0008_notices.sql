-- What is to be told to somebody about an event of the log, until it was. `next_at` null: sent, or given up.
create table notices (
    id integer primary key autoincrement,
    position integer not null,
    channel text not null,
    moment text not null,
    run_id text not null,
    message blob not null,
    attempts integer not null default 0,
    next_at integer,
    sent_at integer,
    failure text,
    unique (position, channel, moment)
) strict;

create index notices_waiting on notices (next_at) where next_at is not null;
