-- What happened outside and may start a run, kept before it is acknowledged. `delivery` is the same for the same
-- happening: it is taken once. `run_id` is the run that it makes, if it makes one; `outcome` null: not carried out yet.
create table deliveries (
    id integer primary key autoincrement,
    procedure text not null,
    trigger text not null,
    delivery text not null,
    received_at integer not null,
    event blob not null,
    run_id text not null,
    outcome text,
    reason text not null default '',
    settled_at integer,
    unique (procedure, trigger, delivery)
) strict;

create index deliveries_waiting on deliveries (id) where outcome is null;
create index deliveries_waiting_of_trigger on deliveries (procedure, trigger) where outcome is null;
create index deliveries_of_run on deliveries (run_id);
create index deliveries_settled on deliveries (settled_at) where settled_at is not null;

-- How far somebody who reads on has come: a schedule, the log, a folder.
create table cursors (
    name text primary key,
    value text not null
) strict, without rowid;

-- What a trigger knows of each file that it watches.
create table watched_files (
    trigger text not null,
    path text not null,
    value text not null,
    primary key (trigger, path)
) strict, without rowid;
