-- Reverse the changes of 0042.
drop index if exists idx_projects_colour;
alter table projects drop column if exists colour;
