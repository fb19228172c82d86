"""A confirmed sign-up of Cognito becomes a row of public.users."""
