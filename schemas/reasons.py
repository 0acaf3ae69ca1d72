"""The table of reasons: every way in which a file, an order or a row can be refused, and what to do about it.

A new reason is one new row here; the table of docs/reference.md and every report take their words from it.
"""

from typing import Final, Literal, NamedTuple

Level = Literal["file", "order", "row"]


class Reason(NamedTuple):
    """One way to be refused: its code, what it concerns, the column at fault and the words for the reseller.

    `passes`: whether the same bytes may be answered otherwise another time, because of what happens elsewhere: in the
    catalogue, to a card, on another day, to a limit. What is wrong with a file as a whole is looked at again each time.
    """

    code: str
    level: Level
    column: str
    words: str
    passes: bool = False


_TABLE = [
    # file
    Reason("FILE_TYPE", "file", "",
           "Not a spreadsheet or a text table that can be read. Send .xlsx, .xlsm, .xlsb, .xls, .ods, .fods, .slk, .csv, .tsv "
           "or .txt, or a web page with a table."),
    Reason("FILE_UNREADABLE", "file", "",
           "The file, or a row of it, can't be read; the value says why. Correct that, or open the file in Excel, save it as "
           ".xlsx under a new name and send that."),
    Reason("FILE_ENCRYPTED", "file", "", "The workbook has a password. Save it without one and send it again."),
    Reason("FILE_TOO_LARGE", "file", "", "The file is over a limit. Split it into smaller files and send those."),
    Reason("FILE_TOO_MANY_ERRORS", "file", "",
           "Too many cells or rows can't be used; the first ones are listed. Correct the column or the export that they come "
           "from and send the file again."),
    Reason("FILE_EMPTY", "file", "", "There is no row below the header. Fill in at least one and send it again."),
    Reason("FILE_ENCODING", "file", "", "The text can't be decoded. Save the file as “CSV UTF-8” and send it again."),
    Reason("FILE_HELD", "file", "",
           "Too many of the codes that you asked for are not free, so files that name codes are on hold. Send Random and BTN+4 "
           "orders in a file of their own, and resubmit this one when the operator has lifted the hold."),
    Reason("FILE_SET_ASIDE", "file", "",
           "Processing this file failed twice, so it was set aside. Rebuild it from the order template, or ask the operator."),
    Reason("COLUMN_MISSING", "file", "", "Add this column to the header row; `cards template` makes a complete file."),
    Reason("COLUMN_REPEATED", "file", "", "Two columns of the file mean the same. Delete or rename one of them."),
    # row
    Reason("ACTION_UNKNOWN", "row", "Action", "Write Add, Change, Disconnect, Block, Unblock or Cancel."),
    Reason("SERVICE_TYPE", "row", "Service Type", "Write Card, or leave the cell empty."),
    Reason("ACCOUNT_FORMAT", "row", "Customer Account Number",
           "Write all 8 digits. Format the column as Text first, so that Excel keeps leading zeros."),
    Reason("ACCOUNT_UNKNOWN", "row", "Customer Account Number", "This is not one of your accounts. Correct the number."),
    Reason("PRODUCT_UNKNOWN", "row", "Product Account Number",
           "Write a product account that belongs to this customer account."),
    Reason("ACCESS_FORMAT", "row", "Access Number",
           "Write a telephone number of 10 digits, of which the first and the fourth are 2 to 9, such as 800-860-4444."),
    Reason("ACCESS_NOT_OFFERED", "row", "Access Number",
           "This number is not offered for this customer account. Write one that is."),
    Reason("ORIGIN_FLAG", "row", "International Origin", "Write Yes or No."),
    Reason("TERMINATION_FLAG", "row", "International Termination", "Write Yes or No."),
    Reason("ORDER_ID_MISSING", "row", "Customer Order ID", "Give the order an ID of its own."),
    Reason("ORDER_ID_FORMAT", "row", "Customer Order ID", "Use 1 to 15 letters, digits, - or _ and nothing else."),
    Reason("COMMENT_TOO_LONG", "row", "Comments", "Shorten the comment to 255 characters."),
    Reason("CODE_TYPE_UNKNOWN", "row", "Code Type",
           "Write Specified, Random or BTN+4; or fill in just Code, just Quantity, or BTN and Quantity."),
    Reason("CODE_TYPE_CONFLICT", "row", "Code Type",
           "Specified takes Code alone, Random takes Quantity alone, BTN+4 takes BTN and Quantity. "
           "Orders for cards that exist take Code or Order ID alone. Empty the cell that does not belong."),
    Reason("CELL_FORMULA", "row", "", "The cell is a formula without a stored value, or an error. Type the value itself."),
    Reason("CELL_CHARACTER", "row", "", "The cell holds a character that can't be used here. Type the cell again."),
    Reason("CODE_MISSING", "row", "Code", "Fill in a code of 14 digits."),
    Reason("CODE_FORMAT", "row", "Code", "A code has exactly 14 digits and nothing else. Write all of them."),
    Reason("CODE_ROUNDED", "row", "Code",
           "Excel has rounded this number and its digits are lost. Format the column as Text, then enter the code again."),
    Reason("CODE_LEADING_ZERO", "row", "Code", "A code never begins with 0. Choose another."),
    Reason("CODE_RUN", "row", "Code",
           "A code may not have four digits in a row that are equal, rise by one or fall by one. Choose another."),
    Reason("CODE_REPEATED", "row", "Code", "An earlier row of this file has the same code. Delete it or choose another."),
    Reason("CODE_TAKEN", "row", "Code", "This code can't be issued; it is not free. Choose another."),
    Reason("QUANTITY_FORMAT", "row", "Quantity", "Write how many codes as a whole number, 1 or more."),
    Reason("QUANTITY_LIMIT", "row", "Quantity", "That is more than one file may ask for. Lower it or split the order."),
    Reason("QUOTA_EXCEEDED", "row", "Quantity",
           "You have reached the number of codes that you may order in a day. Resubmit this order tomorrow."),
    Reason("BTN_FORMAT", "row", "BTN",
           "Write a telephone number of 10 digits, of which the first and the fourth are 2 to 9, such as 303-555-0142."),
    Reason("BTN_UNKNOWN", "row", "BTN",
           "This is not one of the billing telephone numbers of this account. Correct the number."),
    Reason("BTN_IMPOSSIBLE", "row", "BTN",
           "This number has four digits in a row that are equal, rise or fall, so no card can begin with it. "
           "Use another BTN."),
    Reason("BTN_EXHAUSTED", "row", "BTN", "This BTN has fewer free PINs than asked for. Lower Quantity or use another BTN."),
    Reason("CARD_UNKNOWN", "row", "Code", "You have no such card on this account. Correct the code, Order ID or account."),
    Reason("CARD_NOT_READY", "row", "Code",
           "This can't be done with a card in that state. Resubmit the order when the state has changed, or take the card out "
           "of it."),
    Reason("CARD_DISCONNECTED", "row", "Code", "The card is disconnected for good. Take it out of the order."),
    Reason("NOTHING_TO_CHANGE", "row", "Action",
           "Say what to change: fill in Access Number, Product Account Number or one of the international flags."),
    # row of an order-ID report
    Reason("REPORT_ORDER_ID", "row", "Order ID",
           "Every row of an order-ID report names the Order ID of a placement file. Create the report again."),
    # order
    Reason("ORDER_CONFLICT", "order", "",
           "All rows of one order must agree here. Make them equal, or give the row an order ID of its own."),
    Reason("ORDER_ID_USED", "order", "Customer Order ID",
           "An earlier order of this account has this ID and other content. Give this order a new ID."),
    Reason("ORDER_INCOMPLETE", "order", "",
           "This row is valid, but another row of the same order is not. Fix that row and resubmit the whole order."),
    Reason("ORDER_ON_HOLD", "order", "",
           "The order is valid, and so large that it waits for the operator's approval. You need not resubmit it. To take it "
           "back, send a row with the action Cancel and its Customer Order ID."),
    Reason("ORDER_NOT_APPROVED", "order", "",
           "The operator has not approved an order of this size. Ask the operator, or order fewer codes."),
    Reason("ORDER_NOT_WAITING", "row", "Customer Order ID",
           "No order of this account with this ID waits for approval, so there is nothing to cancel. Correct the ID; cards of "
           "a placed order can be disconnected once they are ready."),
]  # fmt: skip

_PASSING: Final = {
    "ACCOUNT_UNKNOWN", "PRODUCT_UNKNOWN", "ACCESS_NOT_OFFERED", "BTN_UNKNOWN",  # the catalogue changes
    "QUOTA_EXCEEDED", "QUANTITY_LIMIT", "BTN_EXHAUSTED",  # another day, another limit
    "CARD_UNKNOWN", "CARD_NOT_READY",  # a card is placed, becomes ready
    "ORDER_ON_HOLD", "ORDER_NOT_APPROVED", "ORDER_NOT_WAITING",  # somebody decides, or another limit holds
}  # fmt: skip
"""A taken code stays taken, a used Customer Order ID used and a disconnected card disconnected, whatever else changes."""
REASONS: dict[str, Reason] = {
    reason.code: reason._replace(passes=reason.level == "file" or reason.code in _PASSING) for reason in _TABLE
}


def passing() -> list[str]:
    """The reasons that may pass by themselves."""
    return [reason.code for reason in REASONS.values() if reason.passes]
