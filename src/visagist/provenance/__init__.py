"""Consent records, content credentials, their verification, and the safeguard against intimate imagery."""

from typing import TYPE_CHECKING

from visagist.core.lazy import lazy_names
from visagist.provenance.credentials import EMBEDS, SIDECARS, Claim, Stamp, sidecar, sign
from visagist.provenance.signer import Signer, add_known_signer, known_signers, remove_known_signer
from visagist.provenance.verify import VERDICTS, Verdict, Verification, verify

if TYPE_CHECKING:
    from visagist.provenance.consent import (
        SAME_PERSON,
        Basis,
        Consent,
        check_person,
        load_consent,
        new_consent,
        record_sha256,
    )
    from visagist.provenance.safeguard import Safeguard, inspect_footage, refuses, safeguard_version

__all__ = [
    "EMBEDS",
    "SAME_PERSON",
    "SIDECARS",
    "VERDICTS",
    "Basis",
    "Claim",
    "Consent",
    "Safeguard",
    "Signer",
    "Stamp",
    "Verdict",
    "Verification",
    "add_known_signer",
    "check_person",
    "inspect_footage",
    "known_signers",
    "load_consent",
    "new_consent",
    "record_sha256",
    "refuses",
    "remove_known_signer",
    "safeguard_version",
    "sidecar",
    "sign",
    "verify",
]

# Imported lazily, because these need media and onnxruntime, and `verify` does not.
__getattr__ = lazy_names(
    __name__,
    {
        "consent": (
            "SAME_PERSON",
            "Basis",
            "Consent",
            "check_person",
            "load_consent",
            "new_consent",
            "record_sha256",
        ),
        "safeguard": ("Safeguard", "inspect_footage", "refuses", "safeguard_version"),
    },
)
