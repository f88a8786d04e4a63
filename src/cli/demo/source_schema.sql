-- The desktop program's database, twenty years old: short names, few foreign keys, 0 for "none".

create table orgmaster (
    org_id      integer primary key,
    org_name    varchar(80) not null,
    org_abn     char(11),
    org_gst     boolean not null,
    org_rate    numeric(6, 4)
);

create table locmaster (
    loc_id      integer primary key,
    loc_name    varchar(60) not null,
    loc_state   char(3),
    loc_post    smallint,
    loc_lat     double precision,
    loc_lon     double precision
);

create table stafmaster (
    staf_id     integer primary key,
    org_id      integer not null,
    staf_name   varchar(80) not null,
    staf_email  varchar(120),
    staf_rate   numeric(8, 2),
    staf_skills text[],
    staf_hired  date,
    staf_active boolean not null,
    staf_uid    uuid
);

create table jobtypes (
    jty_id      integer primary key,
    jty_name    varchar(40) not null,
    jty_colour  char(7),
    jty_hours   real
);

create table itemmaster (
    item_code   varchar(20) primary key,
    item_desc   varchar(120) not null,
    item_unit   varchar(8),
    item_cost   numeric(12, 4),
    item_price  numeric(12, 2),
    item_attrs  jsonb,
    item_off    boolean
);

create table climaster (
    client_id   integer primary key,
    org_id      integer not null,
    loc_id      integer not null,
    cli_name    varchar(120) not null,
    cli_phone   varchar(30),
    cli_limit   numeric(12, 2),
    cli_balance numeric(12, 2),
    cli_tags    text[],
    cli_opts    jsonb,
    cli_notes   text,
    created_at  timestamp not null,
    updated_at  timestamp
);

create table clicontacts (
    con_id      integer primary key,
    client_id   integer not null references climaster,
    con_name    varchar(80) not null,
    con_email   varchar(120),
    con_main    boolean not null,
    con_born    date
);

create table jobshead (
    job_id      integer primary key,
    client_id   integer not null,
    jty_id      integer not null,
    staf_id     integer not null,
    parent_id   integer,
    job_no      varchar(16) not null,
    job_title   varchar(120),
    job_status  varchar(12) not null,
    job_quote   numeric(12, 2),
    job_date    date,
    job_uid     uuid,
    created_at  timestamp not null,
    updated_at  timestamp
);

create table jobtasks (
    jt_id       integer primary key,
    job_id      integer not null,
    staf_id     integer not null,
    jt_seq      smallint not null,
    jt_desc     varchar(200),
    jt_dt       date,
    jt_start    time,
    jt_hours    numeric(6, 2),
    jt_done     boolean not null,
    jt_uid      uuid,
    created_at  timestamp not null,
    updated_at  timestamp
);

create table taskchecklists (
    tc_id       integer primary key,
    jt_id       integer not null,
    tc_title    varchar(80) not null,
    tc_must     boolean not null,
    tc_done_at  timestamp
);

create table checklistitems (
    tc_id       integer not null references taskchecklists,
    ci_no       integer not null,
    ci_text     varchar(200) not null,
    ci_value    text,
    ci_ok       boolean,
    primary key (tc_id, ci_no)
);

create table jobmaterials (
    jm_id       integer primary key,
    job_id      integer not null,
    item_code   varchar(20) not null,
    jm_qty      numeric(10, 3) not null,
    jm_price    numeric(12, 2) not null,
    jm_used     date
);

create table workdiary (
    wd_id       integer not null,
    job_id      integer not null,
    jt_id       integer,
    staf_id     integer not null,
    wd_from     timestamp not null,
    wd_spent    interval,
    wd_text     text,
    wd_site     jsonb,
    created_at  timestamp not null,
    updated_at  timestamp
);
create unique index workdiary_wd_id on workdiary (wd_id);

create table reminders (
    rem_id      integer primary key,
    client_id   integer,
    job_id      integer,
    staf_id     integer not null,
    rem_at      timestamp with time zone not null,
    rem_every   interval,
    rem_text    varchar(200),
    rem_done    boolean not null
);

create table jobdocs (
    doc_id      integer not null,
    job_id      integer not null,
    doc_name    varchar(120) not null,
    doc_mime    varchar(60),
    doc_bytes   bigint,
    doc_thumb   bytea,
    doc_pages   integer[],
    added_at    timestamp not null
);

create index jobshead_client on jobshead (client_id);
create index jobtasks_job on jobtasks (job_id);
