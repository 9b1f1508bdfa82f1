-- Of the runs of one group, only one at a time holds a slot. Null: the run belongs to none.
alter table runs add column concurrency_group text;

-- Runs that have not ended are few, however many there were.
create index runs_of_group on runs (concurrency_group) where concurrency_group is not null and ended_at is null;
