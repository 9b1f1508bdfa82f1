-- The run that started a run within it. Such a run stands in the place of that one where the runs of a workspace are
-- counted.
alter table runs add column parent text;
