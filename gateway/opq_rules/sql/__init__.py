"""The SQL of stream rules: text -> syntax tree, with the place of every error.

    parse.parse(text) -> Statement    parse.shape(text): the same for texts that differ in constants only
    tokens -> cursor -> expression (Pratt) -> select, with its windows -> parse, with CREATE

A parser of ours, not a dialect of sqlglot (30.30 was tried on 33 statements of docs/reference/rules.md). A
dialect would have to override tokenizer, precedences, functions, DDL, and all error texts, which name no
place and not what is allowed; and it took 123 us for a filter rule, where ours takes 21.
"""
