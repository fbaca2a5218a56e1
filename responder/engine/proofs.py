"""Which versions of a target we would go back to by ourselves, for people who look at the list."""

from __future__ import annotations

from collections.abc import Mapping

from responder.domain.ledger import blame, up_to_date
from responder.domain.selection import Proof, prove
from responder.domain.target import Target
from responder.domain.version import WorkloadState
from responder.ports import Ledger


async def proofs(ledger: Ledger, target: Target, state: WorkloadState) -> Mapping[str, Proof]:
    """By fingerprint. The same ledger, marks and earlier alerts that the guards see."""
    entries = up_to_date(await ledger.entries(target.key), target.key, state, state.read_at)
    blamed = tuple(blame(entries, await ledger.troubles(target.key), target.guards.deployed_within))
    bad = await ledger.bad_fingerprints(target.key)
    return {one.fingerprint: prove(one, blamed, bad, target.guards.proven_for) for one in state.history}
