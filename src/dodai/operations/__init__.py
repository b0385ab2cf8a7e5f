"""Operations: settings, releases and the procedures that change production."""
