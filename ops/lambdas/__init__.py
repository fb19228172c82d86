"""The function that stores confirmed Cognito sign-ups, deployed without a console."""
