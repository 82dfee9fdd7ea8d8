def answer(catalog: object, arguments: object) -> str:
    return ""
