-- Ends backend $1 if it still is the session of the run that is named $2; numbers of processes are used again.
select pg_catalog.pg_terminate_backend(a.pid)
from pg_catalog.pg_stat_activity a
where a.pid = $1 and a.application_name = $2 and a.pid <> pg_catalog.pg_backend_pid()
