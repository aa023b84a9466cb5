"""The bundled footage: eight clips of one speaker and one clip of another, with their consent records.

From the GRID audiovisual sentence corpus (Cooke, Barker, Cunningham, Shao 2006, doi 10.5281/zenodo.3625687), CC BY 4.0.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "footage" / "source"
TARGET = FOLDER / "footage" / "target" / "sbia1a.mpg"
SOURCE_CONSENT = FOLDER / "consent" / "source.toml"
TARGET_CONSENT = FOLDER / "consent" / "target.toml"
