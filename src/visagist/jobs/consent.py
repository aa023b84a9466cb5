"""`new_consent` with the face models that check reference pictures, which `provenance` may not import."""

from functools import partial

from visagist import provenance
from visagist.faces import picture_embeddings

new_consent = partial(provenance.new_consent, embed=picture_embeddings)
new_consent.__doc__ = provenance.new_consent.__doc__
