-- What the inbox reads of a run: how many things of it wait for a person, and from when on it is left where nobody
-- drives it. What open runs ask is made from their events when this migration is applied.
alter table runs add column asks integer not null default 0;
alter table runs add column left_at integer;

-- Runs that ask for somebody are few, however many there were. All that counting needs is in the index.
create index runs_asking on runs (ordinal, name, asks, left_at) where asks > 0 or left_at is not null;

-- How many runs of each procedure have ended, and how: nobody counts a million rows to show twenty.
create table ended_runs (
    name text not null,
    status text not null,
    count integer not null,
    primary key (name, status)
) strict, without rowid;

insert into ended_runs
select name, status, count(*) from runs indexed by runs_by_name_and_status
where status in ('completed', 'failed', 'cancelled') group by name, status;

create trigger runs_made_ended after insert on runs when new.status in ('completed', 'failed', 'cancelled') begin
    insert into ended_runs values (new.name, new.status, 1) on conflict do update set count = count + 1;
end;

create trigger runs_ended after update of name, status on runs
when new.status <> old.status or new.name <> old.name begin
    update ended_runs set count = count - 1 where name = old.name and status = old.status;
    insert into ended_runs select new.name, new.status, 1 where new.status in ('completed', 'failed', 'cancelled')
    on conflict do update set count = count + 1;
end;
