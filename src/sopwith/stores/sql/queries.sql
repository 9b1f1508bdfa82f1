-- Every query of the SQLite store. Each has a name and one sentence; parameters are bound, never spliced.

-- name: insert_run
-- The row of a new run; its rowid becomes the ordinal.
insert into runs (
    run_id, name, version, status, seq, head, mode, priority, current_step, total_steps,
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, concurrency_group,
    parent, asks, left_at
) values (
    :run_id, :name, :version, :status, :seq, :head, :mode, :priority, :current_step, :total_steps,
    :created_at, :created_by, :updated_at, :ended_at, :due_at, :holds_slot, :executed, :procedure_digest,
    :concurrency_group, :parent, :asks, :left_at
)

-- name: update_run
-- All of a run that may change; what it was created as stays.
update runs set
    version = :version, status = :status, seq = :seq, head = :head, mode = :mode, priority = :priority,
    current_step = :current_step, total_steps = :total_steps, updated_at = :updated_at, ended_at = :ended_at,
    due_at = :due_at, holds_slot = :holds_slot, executed = :executed, procedure_digest = :procedure_digest
where ordinal = :ordinal

-- name: progress_run
-- The same when only these four differ, so that no index is written.
update runs set seq = :seq, head = :head, current_step = :current_step, updated_at = :updated_at
where ordinal = :ordinal

-- name: ask_of_run
-- What the inbox reads of a run. Of its own, since it seldom changes and has an index.
update runs set asks = :asks, left_at = :left_at where ordinal = :ordinal

-- name: correct_run
-- What a run was created as, where its row does not say what its events do.
update runs set
    name = :name, created_at = :created_at, created_by = :created_by, concurrency_group = :concurrency_group,
    parent = :parent
where ordinal = :ordinal

-- name: is_dropped
-- Whether retention took the content of a run's last event.
select payload is null from events where run = :run and seq = :seq

-- name: run_by_id
-- A run's row, its ordinal and head first.
select
    ordinal, head, run_id, name, version, status, seq, mode, priority, current_step, total_steps,
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, concurrency_group,
    parent, asks, left_at
from runs where run_id = :run_id

-- name: ordinal_of_run
-- The number that stands for a run in other tables and in the lock file.
select ordinal from runs where run_id = :run_id

-- name: newest_runs
-- Runs of any name and status before an ordinal, the newest first; a limit of -1 means all.
select
    ordinal, head, run_id, name, version, status, seq, mode, priority, current_step, total_steps,
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, concurrency_group,
    parent, asks, left_at
from runs where ordinal < :before order by ordinal desc limit :limit

-- name: newest_runs_of_name
-- The same, of one procedure.
select
    ordinal, head, run_id, name, version, status, seq, mode, priority, current_step, total_steps,
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, concurrency_group,
    parent, asks, left_at
from runs where name = :name and ordinal < :before order by ordinal desc limit :limit

-- name: newest_runs_of_status
-- The same, in one status.
select
    ordinal, head, run_id, name, version, status, seq, mode, priority, current_step, total_steps,
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, concurrency_group,
    parent, asks, left_at
from runs where status = :status and ordinal < :before order by ordinal desc limit :limit

-- name: newest_runs_of_name_and_status
-- The same, of one procedure in one status.
select
    ordinal, head, run_id, name, version, status, seq, mode, priority, current_step, total_steps,
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, concurrency_group,
    parent, asks, left_at
from runs
where name = :name and status = :status and ordinal < :before order by ordinal desc limit :limit

-- name: count_open_runs
-- How many runs are in one status in which a run has not ended.
select count(*) from runs where status = :status

-- name: count_open_runs_of_name
-- The same, of one procedure.
select count(*) from runs where name = :name and status = :status

-- name: count_ended_runs
-- How many runs have ended in one status.
select coalesce(sum(count), 0) from ended_runs where status = :status

-- name: count_ended_runs_of_name
-- The same, of one procedure.
select coalesce(sum(count), 0) from ended_runs where name = :name and status = :status

-- name: ended_runs
-- How many runs of each procedure have ended, and how, as it was counted along.
select name, status, count from ended_runs where count <> 0 order by name, status

-- name: recount_ended_runs
-- The same by the runs' own rows.
select name, status, count(*) from runs indexed by runs_by_name_and_status
where status in ('completed', 'failed', 'cancelled') group by name, status order by name, status

-- name: forget_ended_runs
-- Before they are counted anew.
delete from ended_runs

-- name: keep_ended_runs
-- What counting them anew has found.
insert into ended_runs (name, status, count) values (:name, :status, :count)

-- name: open_runs
-- Runs that have not ended.
select ordinal, run_id from runs
where status in ('pending', 'waiting_approval', 'running', 'awaiting_approval', 'paused')

-- name: names_of_runs
-- The procedures of which there are runs: from each name to the next one, not over the runs between.
with recursive found (name) as (
    select min(name) from runs
    union all
    select (select min(runs.name) from runs where runs.name > found.name) from found where found.name is not null
)
select name from found where name is not null

-- name: asking_runs
-- Runs that the inbox may have something of, after an ordinal, the oldest first; no names means any.
select
    ordinal, head, run_id, name, version, status, seq, mode, priority, current_step, total_steps,
    created_at, created_by, updated_at, ended_at, due_at, holds_slot, executed, procedure_digest, concurrency_group,
    parent, asks, left_at
from runs indexed by runs_asking
where (asks > 0 or left_at is not null) and ordinal > :after and (asks > 0 or left_at <= :now) and ended_at is null
    and (:names is null or name in (select value from json_each(:names)))
order by ordinal limit :limit

-- name: count_asked
-- How many things all runs ask that wait for a person.
select coalesce(sum(asks), 0) from runs indexed by runs_asking
where (asks > 0 or left_at is not null) and (:names is null or name in (select value from json_each(:names)))

-- name: left_runs
-- Runs that ask nothing and are left unless somebody drives them: how many nobody has claimed, and those claimed.
select claims.run, count(*) from runs indexed by runs_asking
left join claims on claims.run = ordinal and owner is not null
where (asks > 0 or left_at is not null) and asks = 0 and left_at <= :now
    and (:names is null or name in (select value from json_each(:names)))
group by claims.run

-- name: slots_of_name
-- Runs of one procedure that hold a slot, oldest first, without the one that asks.
select run_id from runs indexed by runs_holding_slots
where holds_slot and name = :name and ordinal <> :asking order by ordinal

-- name: slots_of_workspace
-- All runs that hold a slot and are not within another one, oldest first, without the one that asks.
select run_id from runs indexed by runs_holding_slots
where holds_slot and parent is null and ordinal <> :asking order by ordinal

-- name: slots_of_group
-- Runs of one concurrency group that hold a slot, oldest first, without the one that asks.
select run_id from runs indexed by runs_of_group
where concurrency_group = :group and ended_at is null and holds_slot and ordinal <> :asking order by ordinal

-- name: queued_before
-- Runs of one procedure that wait for a slot and came before the one that asks, but for those their group holds up.
-- Nobody stands behind a run within another: what it waits for may wait for that one.
select run_id from runs as queued where name = :name and status = 'pending' and ordinal < :asking and parent is null
    and not exists (
        select 1 from runs as ahead indexed by runs_of_group
        where ahead.concurrency_group = queued.concurrency_group and ahead.ended_at is null
            and (ahead.holds_slot or (ahead.status = 'pending' and ahead.ordinal < queued.ordinal))
    )
order by ordinal

-- name: queued_in_group
-- Runs of one concurrency group that wait for a slot and came before the one that asks.
select run_id from runs indexed by runs_of_group
where concurrency_group = :group and ended_at is null and status = 'pending' and ordinal < :asking and parent is null
order by ordinal

-- name: last_executed_end
-- When the latest run of one procedure that executed a step ended.
select max(ended_at) from runs indexed by runs_last_executed
where name = :name and executed and ended_at is not null

-- name: due_runs
-- Runs with a deadline at or before an instant, the longest overdue first.
select run_id from runs where due_at <= :now order by due_at, ordinal limit :limit

-- name: insert_event
-- One event at the end of its run.
insert into events (run, seq, event_type, at, prev_hash, hash, payload)
values (:run, :seq, :event_type, :at, :prev_hash, :hash, :payload)

-- name: events_after
-- A run's events with a greater seq, in order.
select events.seq, payload, prev_hash, hash from events join runs on run = ordinal
where run_id = :run_id and events.seq > :after_seq order by events.seq

-- name: insert_content
-- Bytes under their SHA-256; the same bytes again change nothing.
insert into contents (digest, data) values (:digest, :data) on conflict do nothing

-- name: content_of_digest
-- The bytes that were stored under a SHA-256.
select data from contents where digest = :digest

-- name: take_claim
-- Makes a new claim, which fences off the writers of older ones, and returns its epoch.
insert into claims (run, epoch, owner, claimed_at, lease_until) values (:run, 1, :owner, :claimed_at, :lease_until)
on conflict do update set
    epoch = epoch + 1, owner = excluded.owner, claimed_at = excluded.claimed_at, lease_until = excluded.lease_until
returning epoch

-- name: renew_claim
-- Lets the lease of a claim begin anew, unless a newer one was made.
update claims set lease_until = :lease_until where run = :run and epoch = :epoch and owner is not null

-- name: claim_lease
-- Who claimed a run last without giving it back, and how long that keeps other hosts away.
select owner, lease_until from claims join runs on run = ordinal where run_id = :run_id and owner is not null

-- name: free_claim
-- Gives a claim back, unless a newer one was made.
update claims set owner = null where run = :run and epoch = :epoch

-- name: claim_epoch
-- The epoch of a run's newest claim.
select epoch from claims where run = :run

-- name: claim_owner
-- A run's ordinal and whoever claimed it last without giving it back.
select run, owner from claims join runs on run = ordinal where run_id = :run_id and owner is not null

-- name: recall
-- A cached value.
select value from cache where key = :key

-- name: remember
-- Caches a value in place of the one before.
insert into cache (key, value) values (:key, :value) on conflict do update set value = excluded.value

-- name: runs_with_gaps
-- Runs whose events are not exactly 1 to seq.
select run_id, runs.seq, count(events.seq) from runs left join events on run = ordinal
group by ordinal
having count(events.seq) <> runs.seq or min(events.seq) <> 1 or max(events.seq) <> runs.seq

-- name: runs_with_wrong_head
-- Runs whose last event does not have the hash that the run's row names.
select run_id from runs join events on run = ordinal and events.seq = runs.seq where hash <> head

-- name: broken_links
-- Events whose previous hash is not the hash of the event before.
select run_id, later.seq from events as later join runs on later.run = ordinal
left join events as earlier on earlier.run = later.run and earlier.seq = later.seq - 1
where later.prev_hash <> coalesce(earlier.hash, zeroblob(32))

-- name: log_leaves
-- Positions and hashes of the events after a position, in order.
select position, hash from events where position > :after order by position limit :limit

-- name: log_entries
-- The events after a position, in order, each with what its run's row says of the run's last event.
select position, run_id, events.seq, event_type, at, prev_hash, hash, payload, runs.seq, head
from events left join runs on run = ordinal where position > :after order by position limit :limit

-- name: log_entries_of_run
-- The same of one run after a seq.
select position, run_id, events.seq, event_type, at, prev_hash, hash, payload, runs.seq, head
from runs join events on run = ordinal
where run_id = :run_id and events.seq > :after order by events.seq limit :limit

-- name: log_high_water
-- The greatest position that was ever given out.
select seq from sqlite_sequence where name = 'events'

-- name: run_without_events
-- A run that has a row and no event.
select run_id from runs where not exists (select 1 from events where run = ordinal) limit 1

-- name: newest_checkpoint
-- The checkpoint of the greatest size.
select size, line, frontier from checkpoints order by size desc limit 1

-- name: checkpoints_after
-- The checkpoints beyond a size, in order.
select size, line, frontier from checkpoints where size > :after order by size limit :limit

-- name: insert_checkpoint
-- Keeps a checkpoint unless there is one of its size, and returns the size if it did.
insert into checkpoints (size, line, frontier) values (:size, :line, :frontier) on conflict do nothing returning size

-- name: tombstones
-- All tombstones, oldest first.
select line from tombstones order by id

-- name: insert_tombstone
-- Keeps the line that says which payloads are gone.
insert into tombstones (line) values (:line)

-- name: drop_payloads
-- Takes the payloads of one run out of its events; the hashes stay.
update events set payload = null where run = :run

-- name: drop_content
-- Takes out bytes that only dropped events refer to.
delete from contents where digest = :digest

-- name: restorations
-- All restorations, oldest first.
select line from restorations order by id

-- name: insert_restoration
-- Keeps the line that says from what this database was restored.
insert into restorations (line) values (:line)

-- name: insert_token
-- A new token by its hash; the token itself is kept nowhere.
insert into tokens (id, hash, name, kind, role, procedures, created_at, created_by, expires_at)
values (:id, :hash, :name, :kind, :role, :procedures, :created_at, :created_by, :expires_at)

-- name: token_by_id
-- One token by the part of it that names it.
select
    id, hash, name, kind, role, procedures, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at
from tokens where id = :id

-- name: all_tokens
-- All tokens, those that hold no more too.
select
    id, hash, name, kind, role, procedures, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at
from tokens order by created_at, id

-- name: revoke_token
-- A token holds no more, from now on; one that was revoked stays as it is.
update tokens set revoked_at = :at, revoked_by = :by where id = :id and revoked_at is null

-- name: revoke_all_tokens
-- No token of another history holds: some may have been revoked since.
update tokens set revoked_at = :at, revoked_by = :by where revoked_at is null

-- name: note_token_use
-- When a token was used; noted at most once an hour for each address.
update tokens set last_used_at = :at where id = :id

-- name: insert_access
-- One entry at the end of the server's own log.
insert into access (event_type, at, prev_hash, hash, payload) values (:event_type, :at, :prev_hash, :hash, :payload)

-- name: newest_access
-- The hash of the newest entry of the server's own log.
select hash from access order by position desc limit 1

-- name: access_hash
-- The hash of one entry of the server's own log.
select hash from access where position = :position

-- name: prune_access
-- Drops the entries of the server's own log up to this one.
delete from access where position <= :position

-- name: access_before
-- Entries of the server's own log, the newest first.
select position, event_type, at, prev_hash, hash, payload from access
where position < :before order by position desc limit :limit

-- name: access_after
-- The same in order.
select position, event_type, at, prev_hash, hash, payload from access
where position > :after order by position limit :limit

-- name: newest_access_of
-- The newest entry of one type in the server's own log.
select position, event_type, at, prev_hash, hash, payload from access
where event_type = :event_type order by position desc limit 1

-- name: access_high_water
-- The greatest position that was ever given out in the server's own log.
select seq from sqlite_sequence where name = 'access'

-- name: void_claims
-- Makes every claim of another history worthless: no run was ever claimed so often.
insert into claims (run, epoch, owner, claimed_at, lease_until)
select ordinal, :epochs, null, :now, null from runs where true
on conflict do update set epoch = epoch + :epochs, owner = null, lease_until = null

-- name: reading_cursor
-- How far somebody has read the log.
select value from cursors where name = :name

-- name: move_reading_cursor
-- Remembers how far that is.
insert into cursors (name, value) values (:name, :position) on conflict do update set value = excluded.value

-- name: drop_reading_cursor
-- Reads on no more.
delete from cursors where name = :name

-- name: insert_notice
-- One that waits and is due; nothing where there is one for this position and channel.
insert into notices (position, channel, moment, run_id, message, made_at, next_at)
values (:position, :channel, :moment, :run_id, :message, :now, :now) on conflict do nothing

-- name: waiting_channels
-- The channels that something waits for, and when the first of it is due.
select channel, min(next_at) from notices indexed by notices_waiting where outcome is null group by channel

-- name: due_notices
-- What is due over a channel, the longest waiting first.
select id, position, channel, moment, run_id, message, made_at, attempts, next_at, outcome, ended_at, told
from notices indexed by notices_waiting
where channel = :channel and outcome is null and next_at <= :now order by next_at, id limit :limit

-- name: settle_notice
-- One that waits no more.
update notices set outcome = :outcome, ended_at = :now, told = :told, attempts = attempts + :tries, next_at = null
where id = :id and outcome is null

-- name: put_off_notice
-- One that was tried in vain and is due again later.
update notices set attempts = attempts + 1, next_at = :next_at, told = :told where id = :id and outcome is null

-- name: hurry_notices
-- Those that are due after an instant are due now.
update notices indexed by notices_waiting set next_at = :now where outcome is null and next_at > :latest

-- name: newest_notices
-- The newest notices, whatever became of them.
select id, position, channel, moment, run_id, message, made_at, attempts, next_at, outcome, ended_at, told
from notices order by id desc limit :limit

-- name: prune_notices
-- Drops those that ended before an instant.
delete from notices where ended_at < :before returning id

-- name: void_notices
-- In a restored copy: what waited was most likely told in the history that is gone.
update notices indexed by notices_waiting
set outcome = 'dropped', told = 'the record was restored from a backup', ended_at = :now, next_at = null
where outcome is null

-- name: settled_deliveries
-- What became of deliveries from an instant on, in the order in which that was settled.
select id, procedure, trigger, outcome, settled_at from deliveries indexed by deliveries_settled
where settled_at >= :since order by settled_at, id limit :limit

-- name: oldest_waiting_delivery
-- How many deliveries nobody has carried out yet, and since when the first of them waits.
select count(*), min(received_at) from deliveries indexed by deliveries_waiting where outcome is null
-- name: insert_delivery
-- Keeps a delivery, unless it is kept already.
insert into deliveries (procedure, trigger, delivery, received_at, event, run_id, outcome, reason, settled_at, digest)
values
    (:procedure, :trigger, :delivery, :received_at, :event, :run_id, :outcome, :reason, :settled_at, :digest)
on conflict do nothing returning id

-- name: delivery_by_name
-- The delivery of this id at this trigger.
select id, procedure, trigger, delivery, received_at, event, run_id, outcome, reason, settled_at, digest
from deliveries where procedure = :procedure and trigger = :trigger and delivery = :delivery

-- name: delivery_by_id
-- The same by its number.
select id, procedure, trigger, delivery, received_at, event, run_id, outcome, reason, settled_at, digest
from deliveries where id = :id

-- name: waiting_deliveries
-- Those that nobody has carried out yet, the oldest first.
select id, procedure, trigger, delivery, received_at, event, run_id, outcome, reason, settled_at, digest
from deliveries indexed by deliveries_waiting where outcome is null and id > :after order by id limit :limit

-- name: count_waiting_of_trigger
-- How many of one trigger nobody has carried out yet.
select count(*) from deliveries where procedure = :procedure and trigger = :trigger and outcome is null

-- name: trigger_of_run
-- Which trigger a run comes from.
select procedure, trigger from deliveries where run_id = :run_id limit 1

-- name: newest_deliveries
-- Deliveries before this number, the newest first.
select id, procedure, trigger, delivery, received_at, event, run_id, outcome, reason, settled_at, digest
from deliveries where id < :before order by id desc limit :limit

-- name: settle_delivery
-- Says what became of a delivery, once.
update deliveries set outcome = :outcome, reason = :reason, run_id = :run_id, settled_at = :now
where id = :id and outcome is null returning id

-- name: prune_deliveries
-- Forgets deliveries that were carried out before this time.
delete from deliveries where settled_at < :before

-- name: void_deliveries
-- In a restored copy: what waited may have been carried out in the history that is gone.
update deliveries set outcome = 'refused', reason = 'the record was restored from a backup', settled_at = :now
where outcome is null

-- name: trigger_cursor
-- How far a source of events has come.
select value from cursors where name = :name

-- name: move_trigger_cursor
-- Remembers how far it has come.
insert into cursors (name, value) values (:name, :value) on conflict do update set value = :value

-- name: forget_trigger_cursors
-- In a restored copy: every source of events begins anew.
delete from cursors where name >= 'trigger:' and name < 'trigger;'

-- name: watched_files
-- What a trigger knows of its files.
select path, value from watched_files where trigger = :trigger

-- name: keep_watched_file
-- Remembers what a file is like.
insert into watched_files (trigger, path, value) values (:trigger, :path, :value)
on conflict do update set value = :value

-- name: forget_watched_file
-- Remembers a file no more.
delete from watched_files where trigger = :trigger and path = :path

-- name: forget_watched_files
-- In a restored copy: the files that are there are not new.
delete from watched_files
