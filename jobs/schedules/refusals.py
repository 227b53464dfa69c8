"""What can be wrong with a schedule. Each says where: `option`, `line` and `column` are among the facts of all."""

from jobs.errors import Refusal


class ScheduleLong(Refusal):
    """More characters than are read."""

    code = "schedule_long"


class ScheduleEmpty(Refusal):
    """Not one entry."""

    code = "schedule_empty"


class ScheduleManyEntries(Refusal):
    """More entries than are kept."""

    code = "schedule_many_entries"


class ScheduleBreaksOff(Refusal):
    """It ends where an entry still lacks something."""

    code = "schedule_breaks_off"


class ScheduleNoColon(Refusal):
    """Something else than a colon stands after a time."""

    code = "schedule_no_colon"


class ScheduleNoComma(Refusal):
    """Two entries with nothing between them."""

    code = "schedule_no_comma"


class ScheduleNoBar(Refusal):
    """Entries without quotes, with a comma between them, which might be part of the prompt."""

    code = "schedule_no_bar"


class ScheduleUnquoted(Refusal):
    """A prompt without quotes among entries that have them."""

    code = "schedule_unquoted"


class ScheduleQuote(Refusal):
    """A quote that is never closed."""

    code = "schedule_quote"


class ScheduleEscape(Refusal):
    """A backslash before something that it means nothing with."""

    code = "schedule_escape"


class ScheduleBrace(Refusal):
    """A brace without its other half."""

    code = "schedule_brace"


class ScheduleAfterBrace(Refusal):
    """Something follows the closing brace."""

    code = "schedule_after_brace"


class ScheduleNoPrompt(Refusal):
    """A time with nothing after its colon."""

    code = "schedule_no_prompt"


class ScheduleNoTime(Refusal):
    """What stands before a colon is no time."""

    code = "schedule_no_time"


class ScheduleUnit(Refusal):
    """A number with a unit that is none of ours."""

    code = "schedule_unit"


class ScheduleFraction(Refusal):
    """A frame's number that is not whole."""

    code = "schedule_fraction"


class SchedulePercent(Refusal):
    """A percentage beyond the clip."""

    code = "schedule_percent"


class ScheduleFar(Refusal):
    """A frame so far off that it must be a slip."""

    code = "schedule_far"


class ScheduleBeyond(Refusal):
    """A frame of the clip that it has not."""

    code = "schedule_beyond"


class ScheduleNoRate(Refusal):
    """Seconds, where nobody knows how many frames one has."""

    code = "schedule_no_rate"


class ScheduleTwoNegatives(Refusal):
    """`--neg` twice in the text for every prompt."""

    code = "schedule_two_negatives"


class ScheduleBacktick(Refusal):
    """A backtick without its other half."""

    code = "schedule_backtick"


class ScheduleManyExpressions(Refusal):
    """More expressions than are worked out."""

    code = "schedule_many_expressions"


class ScheduleParenthesis(Refusal):
    """A parenthesis that is never closed."""

    code = "schedule_parenthesis"


class ScheduleNoValue(Refusal):
    """A time with no number after its colon."""

    code = "schedule_no_value"


class ScheduleValueOutside(Refusal):
    """A number beyond what it may be."""

    code = "schedule_value_outside"


class ExpressionEmpty(Refusal):
    """Nothing to work out."""

    code = "expression_empty"


class ExpressionLong(Refusal):
    """More characters than an expression may have."""

    code = "expression_long"


class ExpressionDeep(Refusal):
    """Parentheses in parentheses in parentheses."""

    code = "expression_deep"


class ExpressionSign(Refusal):
    """A character that arithmetic does not have."""

    code = "expression_sign"


class ExpressionGlued(Refusal):
    """A number and a name without an operator between them."""

    code = "expression_glued"


class ExpressionUnreadable(Refusal):
    """Signs of arithmetic in an order that means nothing."""

    code = "expression_unreadable"


class ExpressionForbidden(Refusal):
    """It can be read, but is not arithmetic."""

    code = "expression_forbidden"


class ExpressionName(Refusal):
    """A name that stands for nothing."""

    code = "expression_name"


class ExpressionFunction(Refusal):
    """A function that there is not."""

    code = "expression_function"


class ExpressionArguments(Refusal):
    """A function with too few or too many numbers."""

    code = "expression_arguments"


class ExpressionUndefined(Refusal):
    """It has no value, as a division by zero has none."""

    code = "expression_undefined"


class ExpressionLarge(Refusal):
    """Its value, or one on the way to it, is too large for a number."""

    code = "expression_large"
