-- Reverse the changes of 0043. It does not work: the second statement speaks of a table that is not there.
alter table projects drop column if exists colour;
drop table no_such_table;
