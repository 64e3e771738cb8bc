"""What the account must refuse: small histories, each with one thing that is wrong, and one that is right."""

from account import Account

RIGHT = """
0 begin x1 60000
1 branch x1 11 AT db row:1
5 ask x1 commit
6 told x1 commit Committed
7 call commit x1 11
8 begin x2 60000
9 branch x2 21 AT db row:1
10 ask x2 rollback
11 call rollback x2 21
12 call rollback x2 21
13 told x2 rollback Rollbacked
14 begin x3 20000
15 branch x3 31 TCC -
16 left x3
17 call rollback x3 31
"""
# The claim, and lines that come behind.
WRONGS = {
    "an id of a transaction comes twice": ("ids_unique", "20 begin x1 60000"),
    "an id of a branch comes twice": ("ids_unique", "20 branch x3 11 TCC -"),
    "a branch is called in both directions": ("decided_once", "20 call rollback x1 11"),
    "two branches are called in different directions": ("decided_once", "20 branch x1 12 TCC -\n21 call rollback x1 12"),
    "a commit is answered, then a rollback": ("decided_once", "20 told x1 rollback Rollbacked"),
    "a branch of what was committed is never called": ("promises_kept", "20 branch x1 12 TCC -"),
    "a rollback is answered and a commit carried out": ("promises_kept", "20 begin x4 60000\n21 branch x4 41 TCC -\n"
                                                        "22 told x4 rollback Rollbacked\n23 call commit x4 41"),
    "nobody ends what nobody decided": ("all_called", "20 begin x4 20000\n21 branch x4 41 TCC -"),
    "a row is given while another has it": ("rows_exclusive", "20 begin x4 60000\n21 branch x4 41 AT db row:2\n"
                                            "22 begin x5 60000\n23 branch x5 51 AT db row:2\n24 ask x4 commit"),
}


def account_of(*texts):
    account = Account()
    for line in "\n".join(texts).split("\n"):
        if line:
            at, word, *fields = line.split(" ")
            if word == "branch":
                fields = [*fields[:3], " ".join(fields[3:]).replace("-", "")]
            account.add(int(at), word, fields)
    return account


class Wrongs:
    """A part like the others, without a coordinator."""

    def __init__(self, judge):
        self.judge = judge

    def play(self):
        for claim in sorted({claim for claim, _ in WRONGS.values()}):
            self.judge.play(f"right/{claim}", lambda c=claim: getattr(account_of(RIGHT), c)())
        for what, (claim, lines) in WRONGS.items():
            self.judge.play(f"wrong/{what.replace(' ', '-')}", lambda c=claim, t=lines: self.refused(c, t))

    @staticmethod
    def refused(claim, lines):
        try:
            getattr(account_of(RIGHT, lines), claim)()
        except AssertionError as problem:
            return str(problem)
        raise AssertionError(f"{claim} holds")
