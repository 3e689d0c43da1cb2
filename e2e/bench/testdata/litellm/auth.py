"""Who a request is of, for LiteLLM's proxy without a database: its custom_auth. The header that Spillway's limit goes by says it."""

from litellm.proxy._types import UserAPIKeyAuth

PLENTY = 10**12  # tokens a minute: so many that nothing is refused
LITTLE = 10      # less than one answer has, for whom it is to be seen that the limit is there


async def unlimited(request, api_key: str) -> UserAPIKeyAuth:
    user = request.headers["x-user-id"]
    return UserAPIKeyAuth(api_key=user, user_id=user)


async def limited(request, api_key: str) -> UserAPIKeyAuth:
    user = request.headers["x-user-id"]
    return UserAPIKeyAuth(api_key=user, user_id=user, tpm_limit=LITTLE if user == "poor" else PLENTY)
