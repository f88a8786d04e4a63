-- The rows of the last sync: slightly fewer than the desktop has today; the desktop has changed or deleted some of them
-- since. Joins exclude rows that the sync rejected. After these come the rows that the app's users created.

-- The joins already ensure the foreign keys; checking each row again would double the time.
set session_replication_role = replica;

-- The desktop's rows at that time. It has since deleted those above its current total.
create function pg_temp.was_there(of_table text, n bigint) returns boolean language sql stable as
$$ select n <= pg_temp.total(of_table) * 97 / 100 or n > pg_temp.total(of_table) $$;

insert into orgmaster
select org_id, org_name, org_abn, org_gst, org_rate, timestamptz '2024-06-01 00:00+00'
from d_orgmaster where n <= pg_temp.total('orgmaster');

insert into locmaster
select loc_id, loc_name, loc_state, loc_post, loc_lat, loc_lon, timestamptz '2024-06-01 00:00+00'
from d_locmaster where n <= pg_temp.total('locmaster');

insert into stafmaster
select staf_id, org_id, staf_name, staf_email, staf_rate - case when n % 5 = 0 then 1.5 else 0 end,
    staf_skills, staf_hired, staf_active, staf_uid, timestamptz '2024-06-01 00:00+00'
from d_stafmaster where n <= pg_temp.total('stafmaster');

insert into jobtypes select jty_id, jty_name, jty_colour, jty_hours from d_jobtypes where n <= pg_temp.total('jobtypes');

insert into itemmaster
select item_code, item_desc, item_unit, item_cost, item_price - case when n % 3 = 0 then 0.05 else 0 end, item_attrs, item_off
from d_itemmaster where pg_temp.was_there('itemmaster', n);

insert into climaster
select c.client_id, c.org_id, c.loc_id, c.cli_name, c.cli_phone, c.cli_limit,
    c.cli_balance + case when n % 9 = 0 then 125 else 0 end, c.cli_tags, c.cli_opts, c.cli_notes, c.created_at, c.updated_at
from d_climaster c
join locmaster using (loc_id)
where pg_temp.was_there('climaster', n);

insert into clicontacts
select d.con_id, d.client_id, d.con_name, d.con_email, d.con_main, d.con_born
from d_clicontacts d
join climaster using (client_id)
where pg_temp.was_there('clicontacts', n);

insert into jobshead
select d.job_id, d.client_id, d.jty_id, nullif(d.staf_id, 0), d.parent_id, d.job_no, d.job_title,
    case when n % 7 = 0 then 'open' else d.job_status end, d.job_quote, d.job_date, d.job_uid, d.created_at,
    case when n % 7 <> 0 then d.updated_at end
from d_jobshead d
join climaster using (client_id)
where pg_temp.was_there('jobshead', n);

insert into jobtasks (jt_id, job_id, client_id, staf_id, jt_seq, jt_desc, task_date, jt_start, jt_hours, jt_done, created_at, updated_at)
select d.jt_id, d.job_id, j.client_id, nullif(d.staf_id, 0), d.jt_seq, d.jt_desc, d.jt_dt + (n % 6 = 0)::integer, d.jt_start,
    d.jt_hours, d.jt_done and n % 8 <> 0, d.created_at, case when n % 8 <> 0 then d.updated_at end
from d_jobtasks d
join jobshead j using (job_id)
where pg_temp.was_there('jobtasks', n);

insert into taskchecklists (tc_id, jt_id, tc_title, tc_must, tc_done_at)
select d.tc_id, d.jt_id, d.tc_title, d.tc_must, case when n % 10 <> 0 then d.tc_done_at end
from d_taskchecklists d
join jobtasks using (jt_id)
where pg_temp.was_there('taskchecklists', n);

insert into checklistitems (tc_id, ci_no, ci_text, ci_value, ci_ok)
select d.tc_id, d.ci_no, d.ci_text, d.ci_value, case when n % 12 <> 0 then d.ci_ok end
from d_checklistitems d
join taskchecklists using (tc_id)
where pg_temp.was_there('checklistitems', n);

insert into jobmaterials (jm_id, job_id, item_code, jm_qty, jm_price, jm_used)
select d.jm_id, d.job_id, d.item_code, d.jm_qty + (n % 14 = 0)::integer, d.jm_price, d.jm_used
from d_jobmaterials d
join jobshead using (job_id)
join itemmaster using (item_code)
where pg_temp.was_there('jobmaterials', n);

insert into workdiary (wd_id, job_id, jt_id, staf_id, wd_from, wd_spent, wd_text, wd_site, created_at, updated_at)
select d.wd_id, d.job_id, d.jt_id, nullif(d.staf_id, 0), d.wd_from, d.wd_spent,
    case when n % 11 = 0 then 'Draft' else d.wd_text end, d.wd_site, d.created_at, case when n % 11 <> 0 then d.updated_at end
from d_workdiary d
join jobshead using (job_id)
left join jobtasks t on t.jt_id = d.jt_id
where pg_temp.was_there('workdiary', n) and (d.jt_id is null or t.jt_id is not null);

insert into reminders (rem_id, client_id, job_id, staf_id, rem_at, rem_every, rem_text, rem_done, created_at)
select d.rem_id, d.client_id, d.job_id, nullif(d.staf_id, 0), d.rem_at, d.rem_every, d.rem_text, d.rem_done and n % 8 <> 0,
    timestamptz '2024-06-01 00:00+00'
from d_reminders d
left join climaster c on c.client_id = d.client_id
left join jobshead j on j.job_id = d.job_id
where pg_temp.was_there('reminders', n)
    and (d.client_id is null or c.client_id is not null) and (d.job_id is null or j.job_id is not null);

insert into jobdocs
select d.doc_id, d.job_id, d.doc_name, d.doc_mime, d.doc_bytes, d.doc_thumb, d.doc_pages, d.added_at
from d_jobdocs d
join jobshead using (job_id)
where pg_temp.was_there('jobdocs', n);

insert into app_users
select pg_temp.uid('user', staf_id), staf_id, timestamptz '2025-10-01 06:00+00' + staf_id * interval '7 hours'
from stafmaster where staf_active;

-- Rows created on phones.
insert into sitenotes (job_no, staf_id, note_text, created_at)
select job_no, 1 + pg_temp.pick(job_id, 1, pg_temp.total('stafmaster')), 'Seen on site: ' || job_no,
    timestamptz '2025-10-01 03:00+00' + job_id * interval '1 minute'
from jobshead where job_id % 80 = 0 order by job_id;

insert into sitephotos (photo_id, note_id, photo_path, created_at)
select pg_temp.uid('photo', note_id * 10 + nth), note_id, format('sites/%s/%s.jpg', job_no, nth), created_at
from sitenotes cross join generate_series(1, 3) nth order by note_id, nth;

insert into jobtasks (job_id, client_id, staf_id, jt_seq, jt_desc, task_date, source, created_at)
select job_id, client_id, 1 + pg_temp.pick(job_id, 1, pg_temp.total('stafmaster')), 1, 'Come back: ' || job_title, date '2025-10-02',
    'M', timestamptz '2025-10-01 03:30+00' + job_id * interval '1 minute'
from jobshead where job_id % 100 = 0 and job_id <= pg_temp.total('jobshead') order by job_id;

insert into workdiary (job_id, jt_id, staf_id, wd_from, wd_spent, wd_text, source, created_at)
select job_id, jt_id, staf_id, created_at, nth * interval '20 minutes', 'From the phone, page ' || nth, 'M', created_at
from jobtasks cross join generate_series(1, 2) nth where source = 'M' order by jt_id, nth;

reset session_replication_role;
analyze orgmaster, locmaster, stafmaster, jobtypes, itemmaster, climaster, clicontacts, jobshead, jobtasks, taskchecklists,
    checklistitems, jobmaterials, workdiary, reminders, jobdocs, app_users, sitenotes, sitephotos;
