-- The SHA-256 of what a delivery brought, as it was accepted; null for those that were accepted before this migration.
alter table deliveries add column digest blob;
