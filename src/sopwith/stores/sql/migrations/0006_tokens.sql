-- Who may call over the network. The token itself is kept nowhere: `hash` is its SHA-256.
create table tokens (
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

-- The server's own log: who signed in, what was refused, which tokens were made and revoked. Each hash covers the one
-- before.
create table access (
    position integer primary key autoincrement,
    event_type text not null,
    at integer not null,
    prev_hash blob not null,
    hash blob not null,
    payload blob not null
) strict;
