-- Sample people and activities. Times are relative to the moment of loading.

insert into public.users (display_name, handle, email, cognito_user_id) values
  ('Andrew Brown', 'andrewbrown', 'andrew@example.com', 'MOCK-andrewbrown'),
  ('Andrew Bayko', 'bayko', 'bayko@example.com', 'MOCK-bayko'),
  ('Londo Mollari', 'londo', 'londo@example.com', 'MOCK-londo'),
  ('Zoë Ångström', 'zoe', 'zoe@example.com', 'MOCK-zoe'),
  ('山田 花子', 'hanako', null, 'MOCK-hanako');

insert into public.activities (user_uuid, message, likes_count, reposts_count, expires_at, created_at)
select u.uuid, a.message, a.likes, a.reposts, now() + a.expires, now() + a.created
from (values
  ('andrewbrown', 'This was imported as seed data!', 3, 1, interval '10 days', interval '-2 days'),
  ('bayko', 'I am the other Andrew; it''s confusing.', 12, 0, interval '5 days', interval '-26 hours'),
  ('londo', 'My dear friends, the centre of the galaxy is but a jump away.', 7, 2, interval '30 days', interval '-8 hours'),
  ('zoe', 'Smörgåsbord at noon 🍽️ — who is in?', 1, 0, interval '6 hours', interval '-90 minutes'),
  ('hanako', 'はじめまして。よろしくお願いします。', 4, 0, interval '7 days', interval '-20 minutes'),
  ('londo', 'This one is over: it expired yesterday.', 0, 0, interval '-1 day', interval '-3 days'),
  ('zoe', 'Flash sale of pickled herring (gone by now)', 2, 0, interval '-2 hours', interval '-12 hours')
) as a (handle, message, likes, reposts, expires, created)
join public.users u on u.handle = a.handle;

insert into public.activities (user_uuid, message, reply_to_activity_uuid, expires_at, created_at)
select u.uuid, r.message, a.uuid, now() + interval '5 days', a.created_at + r.later
from (values
  ('londo', 'bayko', 'So do I hear, and yet nobody confuses me.', interval '2 hours'),
  ('andrewbrown', 'zoe', 'Count me in!', interval '12 minutes')
) as r (handle, replies_to, message, later)
join public.users u on u.handle = r.handle
join public.users o on o.handle = r.replies_to
join public.activities a on a.user_uuid = o.uuid and a.expires_at > now();

update public.activities a
set replies_count = (select count(*) from public.activities r where r.reply_to_activity_uuid = a.uuid)
where exists (select from public.activities r where r.reply_to_activity_uuid = a.uuid);
