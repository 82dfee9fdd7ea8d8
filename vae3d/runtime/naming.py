"""Names of files for cases, whose ids may hold anything."""

import hashlib


def case_file(case_id: str) -> str:
    """The path of a case's file without suffix: a readable name that no two cases share."""
    digest = hashlib.sha256(case_id.encode()).hexdigest()
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "-_." else "_" for c in case_id)
    return f"{digest[:2]}/{name[-80:].lstrip('.')}-{digest[2:10]}"
