"""What a sign-up needs of a database: the role of the function, the table, and the columns that it fills."""

ROLE = "lambda_signup"
TABLE = "public.users"
COLUMNS = ("display_name", "email", "handle", "cognito_user_id")
