"""Consent records, content credentials, their verification, and the safeguard against intimate imagery."""

from typing import TYPE_CHECKING

from visagist.core.lazy import lazy_names
from visagist.provenance.credentials import EMBEDS, SIDECARS, Claim, ConsentTerms, Stamp, sidecar, sign, sign_picture
from visagist.provenance.signer import Signer, add_known_signer, known_signers, remove_known_signer
from visagist.provenance.verify import VERDICTS, Verdict, Verification, verify

if TYPE_CHECKING:
    from visagist.provenance.consent import (
        SAME_PERSON,
        Basis,
        Consent,
        check_person,
        check_valid,
        load_consent,
        new_consent,
        read_consent,
        revoke_consent,
        revoked_consents,
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
    "ConsentTerms",
    "Safeguard",
    "Signer",
    "Stamp",
    "Verdict",
    "Verification",
    "add_known_signer",
    "check_person",
    "check_valid",
    "inspect_footage",
    "known_signers",
    "load_consent",
    "new_consent",
    "read_consent",
    "refuses",
    "remove_known_signer",
    "revoke_consent",
    "revoked_consents",
    "safeguard_version",
    "sidecar",
    "sign",
    "sign_picture",
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
            "check_valid",
            "read_consent",
            "revoke_consent",
            "revoked_consents",
        ),
        "safeguard": ("Safeguard", "inspect_footage", "refuses", "safeguard_version"),
    },
)
