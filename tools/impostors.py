"""Write the embeddings of unrelated people by which identity metrics are calibrated.

    python tools/impostors.py src/visagist/evaluation/impostors.json PERSON=FOOTAGE...

FOOTAGE is a clip, or a folder of clips, that shows PERSON alone. `VIEWS` frames, spread evenly over the clips, are
embedded by dlib's network. Only people of the GRID corpus (CC BY 4.0) may be included in the package. The bundled file
was written by

    python tools/impostors.py src/visagist/evaluation/impostors.json \\
        s1=src/visagist/demo/footage/source sbia1a=src/visagist/demo/footage/target/sbia1a.mpg \\
        brbk7n=GRID/brbk7n.mpg lbbc2a=GRID/lbbc2a.mpg sbwe5n=GRID/sbwe5n.mpg

with the three clips that LipNet contains in evaluation/samples/GRID (github.com/rizkiarm/LipNet, commit bec592aa).
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from visagist.evaluation.embedder import embed_independent
from visagist.faces import describe
from visagist.media import Reader, probe

VIEWS = 8  # per person
ORIGIN = (
    "dlib_resnet128 embeddings of speakers of the GRID audiovisual sentence corpus (Cooke, Barker, Cunningham, Shao "
    "2006, doi 10.5281/zenodo.3625687), CC BY 4.0; people are named by a clip that shows them"
)


def views(footage: Path) -> list[dict[str, Any]]:
    """Embed frames of one person from a clip or a folder of clips; returns clip, frame and embedding of each."""
    clips = sorted(path for path in footage.iterdir() if path.is_file()) if footage.is_dir() else [footage]
    found: list[dict[str, Any]] = []
    for number, clip in enumerate(clips):
        share = range(VIEWS * number // len(clips), VIEWS * (number + 1) // len(clips))
        with Reader(probe(clip)) as reader:
            frames = list(reader)
        for place in share:
            frame = frames[int((place + 0.5) / VIEWS * len(frames))]
            faces = describe(frame)
            if len(faces) != 1:
                sys.exit(f"{clip}: frame {frame.index} shows {len(faces)} faces; give footage of one person only")
            embedding = embed_independent(frame, faces[0].landmarks)
            found.append(
                {"clip": clip.name, "frame": frame.index, "embedding": np.round(embedding.astype(float), 4).tolist()}
            )
    return found


def main(output: Path, people: dict[str, Path]) -> None:
    """Write the file."""
    found = {name: views(footage) for name, footage in people.items()}
    text = json.dumps({"version": 1, "origin": ORIGIN, "people": found}, separators=(",", ":"))
    output.write_text(text.replace('{"clip"', '\n{"clip"') + "\n", "utf-8")  # one view per line


if __name__ == "__main__":
    pairs = [entry.split("=", 1) for entry in sys.argv[2:]]
    main(Path(sys.argv[1]), {name: Path(footage) for name, footage in pairs})
