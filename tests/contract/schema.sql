CREATE TABLE access (
    position integer primary key autoincrement,
    event_type text not null,
    at integer not null,
    prev_hash blob not null,
    hash blob not null,
    payload blob not null
) strict;
CREATE TABLE cache (
    key text primary key,
    value blob not null
) strict;
CREATE TABLE checkpoints (
    size integer primary key,
    line blob not null,
    frontier blob not null
) strict;
CREATE TABLE claims (
    run integer primary key references runs,
    epoch integer not null,
    owner text,
    claimed_at integer not null,
    lease_until integer
) strict;
CREATE TABLE contents (
    digest blob primary key,
    data blob not null
) strict, without rowid;
CREATE TABLE cursors (
    name text primary key,
    value text not null
) strict, without rowid;
CREATE TABLE deliveries (
    id integer primary key autoincrement,
    procedure text not null,
    trigger text not null,
    delivery text not null,
    received_at integer not null,
    event blob not null,
    run_id text not null,
    outcome text,
    reason text not null default '',
    settled_at integer, digest blob,
    unique (procedure, trigger, delivery)
) strict;
CREATE INDEX deliveries_of_run on deliveries (run_id);
CREATE INDEX deliveries_settled on deliveries (settled_at) where settled_at is not null;
CREATE INDEX deliveries_waiting on deliveries (id) where outcome is null;
CREATE INDEX deliveries_waiting_of_trigger on deliveries (procedure, trigger) where outcome is null;
CREATE TABLE ended_runs (
    name text not null,
    status text not null,
    count integer not null,
    primary key (name, status)
) strict, without rowid;
CREATE TABLE events (
    position integer primary key autoincrement,
    run integer not null references runs,
    seq integer not null,
    event_type text not null,
    at integer not null,
    prev_hash blob not null,
    hash blob not null,
    payload blob,
    unique (run, seq)
) strict;
CREATE TABLE notices (
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
CREATE INDEX notices_ended on notices (ended_at) where ended_at is not null;
CREATE INDEX notices_waiting on notices (channel, next_at) where outcome is null;
CREATE TABLE restorations (
    id integer primary key autoincrement,
    line blob not null
) strict;
CREATE TABLE runs (
    ordinal integer primary key,
    run_id text not null unique,
    name text not null,
    version text not null,
    status text not null,
    seq integer not null,
    head blob not null,
    mode text not null,
    priority text not null,
    current_step integer not null,
    total_steps integer not null,
    created_at integer not null,
    created_by text not null,
    updated_at integer not null,
    ended_at integer,
    due_at integer,
    holds_slot integer not null,
    executed integer not null,
    procedure_digest blob not null
, concurrency_group text, parent text, asks integer not null default 0, left_at integer) strict;
CREATE INDEX runs_asking on runs (ordinal, name, asks, left_at) where asks > 0 or left_at is not null;
CREATE INDEX runs_by_name on runs (name);
CREATE INDEX runs_by_name_and_status on runs (name, status);
CREATE INDEX runs_by_status on runs (status);
CREATE INDEX runs_due on runs (due_at) where due_at is not null;
CREATE TRIGGER runs_ended after update of name, status on runs
when new.status <> old.status or new.name <> old.name begin
    update ended_runs set count = count - 1 where name = old.name and status = old.status;
    insert into ended_runs select new.name, new.status, 1 where new.status in ('completed', 'failed', 'cancelled')
    on conflict do update set count = count + 1;
end;
CREATE INDEX runs_holding_slots on runs (name) where holds_slot;
CREATE INDEX runs_last_executed on runs (name, ended_at) where executed and ended_at is not null;
CREATE TRIGGER runs_made_ended after insert on runs when new.status in ('completed', 'failed', 'cancelled') begin
    insert into ended_runs values (new.name, new.status, 1) on conflict do update set count = count + 1;
end;
CREATE INDEX runs_of_group on runs (concurrency_group) where concurrency_group is not null and ended_at is null;
CREATE TABLE tokens (
    id text primary key,
    hash blob not null unique,
    name text not null,
    kind text not null,
    role text not null,
    procedures text not null,
    created_at integer not null,
    created_by text not null,
    expires_at integer,
    revoked_at integer,
    revoked_by text,
    last_used_at integer
) strict, without rowid;
CREATE TABLE tombstones (
    id integer primary key autoincrement,
    line blob not null
) strict;
CREATE TABLE watched_files (
    trigger text not null,
    path text not null,
    value text not null,
    primary key (trigger, path)
) strict, without rowid;
