-- The home feed, newest first: the page after the activity with this time and
-- uuid, or the first one where these are null.
select a.uuid, u.display_name, u.handle, a.message, a.replies_count, a.reposts_count, a.likes_count,
       a.reply_to_activity_uuid, a.expires_at, a.created_at
from public.activities a
left join public.users u on u.uuid = a.user_uuid
where (a.created_at, a.uuid) < (coalesce(%(before)s::timestamptz, 'infinity'),
                                coalesce(%(before_uuid)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  and (%(hide_expired)s::boolean is not true or a.expires_at is null or a.expires_at > now())
order by a.created_at desc, a.uuid desc
limit %(limit)s
