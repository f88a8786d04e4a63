-- The rows of the desktop's tables, as temporary views. They are the same on every machine; nothing is random.
--
-- demo.<table>, set before this script, is the number of rows of a table in the source today. Each view has a few more:
-- rows with `n` above that number were deleted since the last sync, so only the target has them.

create function pg_temp.total(of_table text) returns bigint language sql stable as
$$ select current_setting('demo.' || of_table)::bigint $$;

create function pg_temp.numbers(of_table text) returns setof bigint language sql stable as
$$ select generate_series(1, pg_temp.total(of_table) + pg_temp.total(of_table) / 100) $$;

-- A pseudorandom number below m, which depends on the salt.
create function pg_temp.pick(n bigint, salt integer, m bigint) returns integer language sql immutable as
$$ select (n * (2654435761 + salt * 7368787) % 4294967291 % m)::integer $$;

create function pg_temp.word(n bigint, salt integer, words text[]) returns text language sql immutable as
$$ select words[1 + pg_temp.pick(n, salt, cardinality(words))] $$;

create function pg_temp.uid(kind text, n bigint) returns uuid language sql immutable as
$$ select md5(kind || n)::uuid $$;

create function pg_temp.person(n bigint, salt integer) returns text language sql immutable as
$$
    select pg_temp.word(n, salt, '{Ava,Ben,Chloe,Daan,Elif,Finn,Grace,Hugo,Isla,Jack,Kim,Liam,Mia,Noah,Olga,Priya,Quinn,Ruby,Sam,Tane}')
        || ' '
        || pg_temp.word(n, salt + 1, '{Adams,Brown,Chen,Dubois,Evans,Fischer,Garcia,Hughes,Ivanov,Jones,Kaur,Lee,Müller,Nguyen,O''Brien,Patel,Quist,Rossi,Smith,Tran,Walker,Young,Zhang}')
$$;

-- Location 2 does not exist: it was deleted although clients referenced it.
create function pg_temp.location(n bigint) returns integer language sql immutable as
$$ select (case when n < 2 then n else n + 1 end)::integer $$;

-- The job a task belongs to.
create function pg_temp.job_of_task(jt_id bigint) returns integer language sql stable as
$$ select 1 + pg_temp.pick(jt_id, 31, pg_temp.total('jobshead')) $$;

create temporary view d_orgmaster as
select n, n::integer as org_id, 'Branch ' || n || ' Pty Ltd' as org_name, lpad((n * 7654321)::text, 11, '5') as org_abn,
    n % 6 <> 0 as org_gst, round(n / 97.0, 4) as org_rate
from pg_temp.numbers('orgmaster') n;

create temporary view d_locmaster as
select n, pg_temp.location(n) as loc_id,
    pg_temp.word(n, 1, '{North,South,East,West,Upper,Lower,Old,New}') || ' '
        || pg_temp.word(n, 2, '{Haven,Ridge,Bay,Creek,Hill,Plains,Point,Park,Vale}') || ' ' || n as loc_name,
    pg_temp.word(n, 3, '{NSW,VIC,QLD,TAS,WA,SA,ACT,NT}') as loc_state, (2000 + pg_temp.pick(n, 4, 6000))::smallint as loc_post,
    -10 - pg_temp.pick(n, 5, 3300000) / 1e5 as loc_lat, 113 + pg_temp.pick(n, 6, 4000000) / 1e5 as loc_lon
from pg_temp.numbers('locmaster') n;

create temporary view d_stafmaster as
select n, n::integer as staf_id, 1 + pg_temp.pick(n, 1, pg_temp.total('orgmaster')) as org_id, pg_temp.person(n, 2) as staf_name,
    'staff' || n || '@example.com' as staf_email, 28 + pg_temp.pick(n, 4, 4000) / 100.0 as staf_rate,
    array[pg_temp.word(n, 5, '{plumbing,electrical,carpentry}'), pg_temp.word(n, 6, '{heights,gas,"first aid",solar}')] as staf_skills,
    date '2009-03-01' + pg_temp.pick(n, 7, 5500) as staf_hired, n % 9 <> 0 as staf_active, pg_temp.uid('staff', n) as staf_uid
from pg_temp.numbers('stafmaster') n;

create temporary view d_jobtypes as
select n, n::integer as jty_id, pg_temp.word(n, 1, '{Install,Repair,Inspect,Quote,Service,Emergency}') || ' ' || n as jty_name,
    '#' || substr(md5(n::text), 1, 6) as jty_colour, (pg_temp.pick(n, 2, 32) / 4.0)::real as jty_hours
from pg_temp.numbers('jobtypes') n;

create temporary view d_itemmaster as
select n, 'IT-' || lpad(n::text, 6, '0') as item_code,
    pg_temp.word(n, 1, '{Copper,PVC,Brass,Steel,LED}') || ' ' || pg_temp.word(n, 2, '{pipe,elbow,valve,cable,batten,switch,bracket}')
        || ' ' || (10 + pg_temp.pick(n, 3, 90)) || ' mm' as item_desc,
    pg_temp.word(n, 4, '{ea,m,box,kg}') as item_unit, pg_temp.pick(n, 5, 900000) / 10000.0 as item_cost,
    pg_temp.pick(n, 6, 20000) / 100.0 as item_price,
    jsonb_build_object('bin', 'A' || pg_temp.pick(n, 7, 400), 'supplier', jsonb_build_array(pg_temp.pick(n, 8, 30), pg_temp.pick(n, 9, 30))) as item_attrs,
    nullif(n % 13, 0) is null as item_off
from pg_temp.numbers('itemmaster') n;

-- demo.orphans clients, spread evenly, are at location 2.
create temporary view d_climaster as
select n, n::integer as client_id, 1 + pg_temp.pick(n, 1, pg_temp.total('orgmaster')) as org_id,
    case when n % (pg_temp.total('climaster') / (pg_temp.total('orphans') + 1)) = 0
            and n / (pg_temp.total('climaster') / (pg_temp.total('orphans') + 1)) between 1 and pg_temp.total('orphans')
        then 2 else pg_temp.location(1 + pg_temp.pick(n, 2, pg_temp.total('locmaster'))) end as loc_id,
    pg_temp.person(n, 3) || case when n % 4 = 0 then ' & Sons' else '' end as cli_name,
    case when n % 11 <> 0 then '0' || 400000000 + pg_temp.pick(n, 5, 99999999) end as cli_phone,
    500.0 * pg_temp.pick(n, 6, 60) as cli_limit, pg_temp.pick(n, 7, 900000) / 100.0 - 1500 as cli_balance,
    array[pg_temp.word(n, 8, '{retail,strata,builder,farm}')] as cli_tags,
    jsonb_build_object('terms', 7 * pg_temp.pick(n, 9, 5), 'email', n % 3 = 0) as cli_opts,
    case when n % 5 = 0 then E'Gate code on file.\nCall first; ask for "the manager".' end as cli_notes,
    timestamp '2015-07-01 08:00' + n * interval '3 hours' as created_at,
    case when n % 6 <> 0 then timestamp '2025-02-01 09:30' + pg_temp.pick(n, 10, 500000) * interval '1 minute' end as updated_at
from pg_temp.numbers('climaster') n;

create temporary view d_clicontacts as
select n, n::integer as con_id, 1 + pg_temp.pick(n, 1, pg_temp.total('climaster')) as client_id, pg_temp.person(n, 2) as con_name,
    'contact' || n || '@example.org' as con_email, n % 2 = 0 as con_main,
    case when n % 3 = 0 then date '1955-01-01' + pg_temp.pick(n, 4, 17000) end as con_born
from pg_temp.numbers('clicontacts') n;

-- Clients alternate, so that the job one cycle earlier, which this one may recall, belongs to the same client.
create temporary view d_jobshead as
select n, n::integer as job_id, (1 + (n - 1) % pg_temp.total('climaster'))::integer as client_id,
    1 + pg_temp.pick(n, 1, pg_temp.total('jobtypes')) as jty_id,
    case when n % 17 = 0 then 0 else 1 + pg_temp.pick(n, 2, pg_temp.total('stafmaster')) end as staf_id,
    case when n % 40 = 0 and n > pg_temp.total('climaster') then (n - pg_temp.total('climaster'))::integer end as parent_id,
    'J' || to_char(n, 'FM00000000') as job_no,
    pg_temp.word(n, 3, '{Switchboard upgrade,Hot water,Leaking tap,Deck repair,Solar check,Rewire kitchen,Gutter guard,Smoke alarms}') as job_title,
    pg_temp.word(n, 4, '{open,quoted,booked,done,done,done,invoiced,invoiced}') as job_status,
    case when n % 10 <> 0 then pg_temp.pick(n, 5, 1500000) / 100.0 end as job_quote,
    date '2019-01-01' + pg_temp.pick(n, 6, 2500) as job_date, pg_temp.uid('job', n) as job_uid,
    timestamp '2019-01-01 07:00' + n * interval '11 minutes' as created_at,
    case when n % 4 <> 0 then timestamp '2025-03-01 10:00' + pg_temp.pick(n, 7, 400000) * interval '1 minute' end as updated_at
from pg_temp.numbers('jobshead') n;

create temporary view d_jobtasks as
select n, n::integer as jt_id, pg_temp.job_of_task(n) as job_id,
    case when n % 23 = 0 then 0 else 1 + pg_temp.pick(n, 1, pg_temp.total('stafmaster')) end as staf_id,
    (1 + pg_temp.pick(n, 2, 9))::smallint as jt_seq,
    pg_temp.word(n, 3, '{Isolate supply,Strip out,Rough in,Fit off,Test and tag,Clean up,Order parts,Walk through with client}')
        || case when n % 50 = 0 then E' (see notes:\tladder, 2 people)' else '' end as jt_desc,
    date '2019-02-01' + pg_temp.pick(n, 4, 2500) as jt_dt, time '06:30' + pg_temp.pick(n, 5, 40) * interval '15 minutes' as jt_start,
    pg_temp.pick(n, 6, 1000) / 100.0 as jt_hours, n % 3 <> 0 as jt_done, pg_temp.uid('task', n) as jt_uid,
    timestamp '2019-01-05 07:00' + n * interval '5 minutes' as created_at,
    case when n % 4 <> 0 then timestamp '2025-03-01 10:00' + pg_temp.pick(n, 7, 400000) * interval '1 minute' end as updated_at
from pg_temp.numbers('jobtasks') n;

create temporary view d_taskchecklists as
select n, n::integer as tc_id, 1 + pg_temp.pick(n, 1, pg_temp.total('jobtasks')) as jt_id,
    pg_temp.word(n, 2, '{Before start,Safety,Handover,Quality,Tools}') as tc_title, n % 3 = 0 as tc_must,
    case when n % 4 <> 0 then timestamp '2024-01-01 12:00' + pg_temp.pick(n, 3, 900000) * interval '1 minute' end as tc_done_at
from pg_temp.numbers('taskchecklists') n;

create temporary view d_checklistitems as
select n, (1 + (n - 1) % pg_temp.total('taskchecklists'))::integer as tc_id, (1 + (n - 1) / pg_temp.total('taskchecklists'))::integer as ci_no,
    pg_temp.word(n, 1, '{Power isolated,Area signed,PPE worn,Photos taken,Meter read,Client informed,Waste removed}') as ci_text,
    case when n % 6 = 0 then (pg_temp.pick(n, 2, 2500) / 10.0)::text || ' V' end as ci_value,
    case n % 5 when 0 then null when 1 then false else true end as ci_ok
from pg_temp.numbers('checklistitems') n;

create temporary view d_jobmaterials as
select n, n::integer as jm_id, 1 + pg_temp.pick(n, 1, pg_temp.total('jobshead')) as job_id,
    'IT-' || lpad((1 + pg_temp.pick(n, 2, pg_temp.total('itemmaster')))::text, 6, '0') as item_code,
    (1 + pg_temp.pick(n, 3, 20000)) / 1000.0 as jm_qty, pg_temp.pick(n, 4, 20000) / 100.0 as jm_price,
    case when n % 7 <> 0 then date '2019-02-01' + pg_temp.pick(n, 5, 2500) end as jm_used
from pg_temp.numbers('jobmaterials') n;

create temporary view d_workdiary as
select n, n::integer as wd_id, coalesce(pg_temp.job_of_task(jt_id), 1 + pg_temp.pick(n, 1, pg_temp.total('jobshead'))) as job_id, jt_id,
    case when n % 29 = 0 then 0 else 1 + pg_temp.pick(n, 2, pg_temp.total('stafmaster')) end as staf_id,
    timestamp '2019-02-01 06:00' + pg_temp.pick(n, 3, 3600000) * interval '1 minute' as wd_from,
    (15 + pg_temp.pick(n, 4, 600)) * interval '1 minute' as wd_spent,
    pg_temp.word(n, 5, '{On site all day.,Waited for parts,"Rain; moved indoors",Finished early,"Client asked for a second quote"}')
        || case when n % 20 = 0 then E'\nBack tomorrow.' else '' end as wd_text,
    jsonb_build_object('temp', pg_temp.pick(n, 6, 35), 'wind', pg_temp.word(n, 7, '{calm,breeze,strong}')) as wd_site,
    timestamp '2019-02-01 18:00' + n * interval '10 minutes' as created_at,
    case when n % 3 = 0 then timestamp '2025-03-01 10:00' + pg_temp.pick(n, 8, 400000) * interval '1 minute' end as updated_at
from pg_temp.numbers('workdiary') n
cross join lateral (select case when n % 5 <> 0 then 1 + pg_temp.pick(n, 9, pg_temp.total('jobtasks')) end) task (jt_id);

create temporary view d_reminders as
select n, n::integer as rem_id, case when n % 2 = 0 then 1 + pg_temp.pick(n, 1, pg_temp.total('climaster')) end as client_id,
    case when n % 3 = 0 then 1 + pg_temp.pick(n, 2, pg_temp.total('jobshead')) end as job_id,
    case when n % 12 = 0 then 0 else 1 + pg_temp.pick(n, 3, pg_temp.total('stafmaster')) end as staf_id,
    timestamptz '2025-01-01 00:00+00' + pg_temp.pick(n, 4, 900000) * interval '1 minute' as rem_at,
    (array[null, interval '1 month', interval '1 year', interval '14 days'])[1 + pg_temp.pick(n, 5, 4)] as rem_every,
    pg_temp.word(n, 6, '{Call back,Send invoice,Order filters,Annual test due,Renew licence}') as rem_text, n % 4 = 0 as rem_done
from pg_temp.numbers('reminders') n;

create temporary view d_jobdocs as
select n, n::integer as doc_id, 1 + pg_temp.pick(n, 1, pg_temp.total('jobshead')) as job_id,
    'scan ' || n || pg_temp.word(n, 2, '{.pdf,.jpg,.PNG}') as doc_name,
    pg_temp.word(n, 3, '{application/pdf,image/jpeg,image/png}') as doc_mime, 20000 + pg_temp.pick(n, 4, 90000000)::bigint as doc_bytes,
    case when n % 8 <> 0 then decode(repeat(md5(n::text), 1 + pg_temp.pick(n, 5, 12)), 'hex') end as doc_thumb,
    array[1, 1 + pg_temp.pick(n, 6, 40)] as doc_pages,
    timestamp '2020-01-01 00:00' + pg_temp.pick(n, 7, 2800000) * interval '1 minute' as added_at
from pg_temp.numbers('jobdocs') n;
