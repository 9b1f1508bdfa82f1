-- What is to be told over a channel of an event of the log, until it was. `outcome` null: it waits, until `next_at`.
-- How far the log was read for it is the cursor `notices`.
create table notices (
    id integer primary key autoincrement,
    position integer not null,
    channel text not null,
    moment text not null,
    run_id text not null,
    message blob not null,
    made_at integer not null,
    attempts integer not null default 0,
    next_at integer,
    outcome text,
    ended_at integer,
    told text not null default '',
    unique (position, channel)
) strict;

create index notices_waiting on notices (channel, next_at) where outcome is null;
create index notices_ended on notices (ended_at) where ended_at is not null;
