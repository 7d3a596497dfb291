"""What a tenant is told that asks for more than it may."""

from expound_server.errors import CallError, QueueFull, QuotaExceeded
from expound_server.tenants import Tenant


def check_evaluations(planned: int, tenant: Tenant) -> None:
    """Raises QuotaExceeded where a request takes more evaluations than the tenant's may."""
    limit = tenant.limits.evaluations_per_request
    if limit and planned > limit:
        raise QuotaExceeded(
            "evaluations_per_request",
            f"the request takes about {planned} evaluations of the model, above the limit of "
            f"{limit} for one; ask for fewer inputs or samples",
            tenant.name,
        )


def refusal(limit: str, retry_after_s: float, tenant: Tenant, max_waiting: int) -> CallError:
    """The error of a request that the script ``create`` has refused.

    Args:
        limit: what the script calls the limit.
        retry_after_s: seconds after which to try again; 0 for never.
        tenant: who asks.
        max_waiting: how much work may wait.
    """
    if limit == "waiting":
        return QueueFull(max_waiting, retry_after_s)
    allowed = getattr(tenant.limits, limit)
    if not retry_after_s:
        return QuotaExceeded(
            limit,
            f"the request and its inputs take more than the {allowed} bytes that the tenant "
            f"{tenant.name} may ask to be kept; ask for fewer or smaller ones",
            tenant.name,
        )
    what = {
        "requests_in_flight": f"{allowed} explanations at a time, which have not ended",
        "images_per_minute": f"{allowed} images a minute",
        "stored_bytes": f"{allowed} bytes to be kept, and has them; delete explanations, or",
    }[limit]
    return QuotaExceeded(
        limit,
        f"the tenant {tenant.name} may ask for {what}; try again in {retry_after_s:.1f} s",
        tenant.name,
        retry_after_s,
    )
