-- Instants are milliseconds since 1970-01-01 UTC; digests and hashes are raw SHA-256 bytes.

-- One row for each run: what lists, limits and timers read without replaying. The events are the truth.
-- `ordinal` is also the byte of the lock file that the run's driver holds.
create table runs (
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
) strict;

create index runs_by_name on runs (name);
create index runs_by_status on runs (status);
create index runs_by_name_and_status on runs (name, status);
create index runs_holding_slots on runs (name) where holds_slot;
create index runs_due on runs (due_at) where due_at is not null;
create index runs_last_executed on runs (name, ended_at) where executed and ended_at is not null;

-- The record. `position` counts over all runs; retention may null a payload, never a hash.
create table events (
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

-- Bytes that events refer to by their SHA-256: procedures, environments, evidence.
create table contents (
    digest blob primary key,
    data blob not null
) strict, without rowid;

-- Who drives a run. `epoch` only grows; `owner` is null when the claim was given back.
create table claims (
    run integer primary key references runs,
    epoch integer not null,
    owner text,
    claimed_at integer not null,
    lease_until integer
) strict;

-- What can be made again at any time.
create table cache (
    key text primary key,
    value blob not null
) strict;
