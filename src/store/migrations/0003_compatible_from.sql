-- The oldest program that can go on with the tables as they are after this step, by the version that it works with. NULL:
-- none older than the step's own.
ALTER TABLE {schema}._migrations ADD COLUMN compatible_from int;
