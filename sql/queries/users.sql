-- The people who have signed up, by handle.
select handle, display_name, email, created_at
from public.users
order by lower(handle)
limit %(limit)s
