/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/kafka.h"

#include "tests/support/assert.h"
#include "tests/support/process.h"
#include "tests/support/skip.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

const char *sb_test_kafka(void)
{
    const char *bootstrap = getenv("SB_TEST_KAFKA");
    if (!bootstrap || !bootstrap[0])
        sb_test_skip("kafka", "no broker: SB_TEST_KAFKA is not set");
    return bootstrap;
}

bool sb_test_kafka_has_control(void)
{
    const char *script = getenv("SB_TEST_KAFKA_CTL");
    return script && script[0];
}

void sb_test_kafka_control(const char *verb)
{
    if (!sb_test_kafka_has_control())
        sb_test_skip("kafka", "the broker cannot be controlled: SB_TEST_KAFKA_CTL is not set");
    const char *const argv[] = {getenv("SB_TEST_KAFKA_CTL"), verb, NULL};
    int status = sb_test_run(argv, 120000);
    if (status != 0)
        fail_msg("%s %s gave %d", argv[0], verb, status);
}

char *sb_test_kafka_prefix(char prefix[SB_TEST_PREFIX])
{
    static int count;
    uint32_t random = 0;
    ssize_t ignored = getrandom(&random, sizeof random, 0);
    (void)ignored;
    (void)snprintf(prefix, SB_TEST_PREFIX, "t%08x-%d.", random, ++count);
    return prefix;
}
