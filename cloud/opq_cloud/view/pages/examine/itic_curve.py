"""Where an incident lies by the ITIC curve, as a sentence."""

from opq_proto.messages import Finding

ITIC_SENTENCES = {
    "no_interruption_in_function": "This incident lies between them: such equipment should go on working.",
    "no_damage": "This incident lies below the lower one: such equipment may stop, but is not harmed.",
    "prohibited": "This incident lies above the upper one: such equipment may be damaged.",
}


def itic_sentence(finding: Finding | None) -> str:
    if finding is None or finding.itic is None:
        return ""
    return ITIC_SENTENCES.get(finding.itic, "")
