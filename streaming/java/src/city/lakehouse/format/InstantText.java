package city.lakehouse.format;

import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;

import org.apache.flink.table.data.TimestampData;

/**
 * Writes instants as RFC 3339 has them, in UTC and with milliseconds or, where there are some, microseconds.
 *
 * <p>Events of a stream lie in a few seconds: their texts are kept.
 */
final class InstantText {

    private static final DateTimeFormatter SECOND = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss");
    private static final int SECOND_LENGTH = 19;
    private static final int MILLISECOND_DIGITS = 3;
    private static final int MICROSECOND_DIGITS = 6;
    private static final int SECONDS_KEPT = 64;

    private final char[] text = new char[SECOND_LENGTH + 1 + MICROSECOND_DIGITS + 1];
    private final String[] texts = new String[SECONDS_KEPT];
    private final long[] seconds = new long[SECONDS_KEPT];

    /** Where the last instant was written to. */
    char[] characters() {
        return text;
    }

    /** Writes {@code instant}, of a year with four digits, and returns the length of its text. */
    int write(TimestampData instant) {
        long milliseconds = instant.getMillisecond();
        writeSecond(Math.floorDiv(milliseconds, 1000L));
        int microseconds =
                Math.floorMod(milliseconds, 1000) * 1000 + instant.getNanoOfMillisecond() / 1000;
        boolean whole = microseconds % 1000 == 0;
        int digits = whole ? MILLISECOND_DIGITS : MICROSECOND_DIGITS;
        int rest = whole ? microseconds / 1000 : microseconds;
        for (int place = SECOND_LENGTH + digits; place > SECOND_LENGTH; place--) {
            text[place] = (char) ('0' + rest % 10);
            rest /= 10;
        }
        text[SECOND_LENGTH] = '.';
        text[SECOND_LENGTH + digits + 1] = 'Z';
        return SECOND_LENGTH + digits + 2;
    }

    private void writeSecond(long epochSecond) {
        int place = Math.floorMod(epochSecond, SECONDS_KEPT);
        if (texts[place] == null || seconds[place] != epochSecond) {
            texts[place] = SECOND.format(LocalDateTime.ofEpochSecond(epochSecond, 0, ZoneOffset.UTC));
            seconds[place] = epochSecond;
        }
        texts[place].getChars(0, SECOND_LENGTH, text, 0);
    }
}
