-- A morning at the desktop: raises the price of 40 items, signs 15 diary pages and adds 25.

update itemmaster set item_price = item_price + 1
where item_code in (select item_code from itemmaster order by item_code limit 40);

create temporary view known as
select w.* from workdiary w join jobshead using (job_id) join climaster using (client_id) join locmaster using (loc_id);

update workdiary set wd_text = 'Signed', updated_at = localtimestamp
where wd_id in (select wd_id from known order by wd_id limit 15);

insert into workdiary (wd_id, job_id, jt_id, staf_id, wd_from, wd_text, created_at)
select (select max(wd_id) from workdiary) + row_number() over (order by wd_id), job_id, jt_id, staf_id, localtimestamp,
    'Ordered at the desk', localtimestamp
from known order by wd_id desc limit 25;
