"""Consent records whose reference pictures are checked by the face models, which `provenance` does not know."""

from functools import partial

from visagist import provenance
from visagist.faces import picture_embeddings

new_consent = partial(provenance.new_consent, embed=picture_embeddings)
new_consent.__doc__ = provenance.new_consent.__doc__
