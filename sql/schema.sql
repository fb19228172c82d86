-- Cruddur's tables. Loads into an empty database, by inv db.setup or plain psql.
-- Keys are made by gen_random_uuid(), built in since PostgreSQL 13.

create table public.users (
  uuid uuid primary key default gen_random_uuid(),
  display_name text not null,
  handle text not null,
  email text,
  cognito_user_id text not null unique,
  created_at timestamptz not null default now()
);

-- Handles differ by more than their capitals
create unique index users_handle_key on public.users (lower(handle));

comment on table public.users is 'People who have signed up.';
comment on column public.users.display_name is 'The name shown beside a message, as its owner writes it.';
comment on column public.users.handle is 'The name after the @, unique whatever its capitals.';
comment on column public.users.email is 'Absent for phone sign-ups, shared by some federated ones: neither required nor unique.';
comment on column public.users.cognito_user_id is 'The sub of the user in the Cognito pool.';

create table public.activities (
  uuid uuid primary key default gen_random_uuid(),
  user_uuid uuid not null references public.users (uuid) on delete cascade,
  message text not null,
  replies_count integer not null default 0,
  reposts_count integer not null default 0,
  likes_count integer not null default 0,
  reply_to_activity_uuid uuid references public.activities (uuid) on delete set null,
  expires_at timestamptz,
  created_at timestamptz not null default now()
);

-- The home feed reads newest first; uuid settles equal times
create index activities_newest on public.activities (created_at desc, uuid desc);
-- The feed that leaves out what has expired, where that is nearly all
create index activities_expiry on public.activities (expires_at);
-- Deleting a user or an activity looks up what points to it
create index activities_user on public.activities (user_uuid);
create index activities_reply_to on public.activities (reply_to_activity_uuid);

comment on table public.activities is 'Short messages, and replies to them.';
comment on column public.activities.reply_to_activity_uuid is 'The activity that this one replies to.';
comment on column public.activities.expires_at is 'When the message is no longer shown; never, where absent.';
