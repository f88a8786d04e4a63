-- Casts between types that the server knows, apart from those through text.
select c.castsource, c.casttarget, c.castcontext = 'i' as is_implicit from pg_catalog.pg_cast c
