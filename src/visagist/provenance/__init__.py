"""Where renders come from and what they are: consent, content credentials, verification, and the safeguard.

- `consent`: records of who agreed to what
- `signer`, `credentials`: signing renders as synthetic, with C2PA
- `verify`: what a file's credentials say, and whether they still fit
- `safeguard`: no faces into intimate imagery
"""

from visagist.provenance.consent import (
    SAME_PERSON,
    Basis,
    Consent,
    check_person,
    load_consent,
    new_consent,
    record_sha256,
)
from visagist.provenance.credentials import EMBEDS, SIDECARS, Claim, Stamp, sidecar, sign
from visagist.provenance.safeguard import Safeguard, inspect_footage, refuses
from visagist.provenance.signer import Signer, add_known_signer, known_signers, remove_known_signer
from visagist.provenance.verify import VERDICTS, Verdict, Verification, verify

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
    "sidecar",
    "sign",
    "verify",
]
