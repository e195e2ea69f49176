// SPDX-License-Identifier: Apache-2.0
#include "prompt/data_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

TEST(Base64, DecodesEveryLengthOfTail) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("Zg=="), "f");
  EXPECT_EQ(decode_base64("Zm8="), "fo");
  EXPECT_EQ(decode_base64("Zm9v"), "foo");
  EXPECT_EQ(decode_base64("AP/+gA=="), std::string("\x00\xff\xfe\x80", 4));
}

TEST(Base64, IsStrict) {
  for (const char* bad :
       {"Zg", "Zg=", "Z===", "Zm9v\n", "Zm 9", "Zm-_", "====", "=m9v", "Zg==Zg=="})
    EXPECT_THROW(decode_base64(bad), Error) << bad;
}

TEST(Percent, DecodesAndRefusesHalfCodes) {
  EXPECT_EQ(decode_percent("a%20b%2Fc%00d"), std::string("a b/c\0d", 7));
  for (const char* bad : {"%", "%2", "%2g", "abc%"})
    EXPECT_THROW(decode_percent(bad), Error) << bad;
}

TEST(DataUrl, KnowsBothCodings) {
  EXPECT_EQ(decode_data_url("data:image/png;base64,Zm9v", 10), "foo");
  EXPECT_EQ(decode_data_url("data:;charset=x;BASE64,Zm9v", 10), "foo");
  EXPECT_EQ(decode_data_url("data:,a%2Cb,c", 10), "a,b,c");
}

TEST(DataUrl, RefusesOtherForms) {
  EXPECT_THROW(decode_data_url("data:image/png;base64", 10), Error);
  EXPECT_THROW(decode_data_url("http://x/,", 10), Error);
}

TEST(DataUrl, JudgesTheLengthBeforeDecoding) {
  EXPECT_NO_THROW(decode_data_url("data:;base64,Zm9v", 3));
  try {
    decode_data_url("data:;base64," + std::string(4000, '!'), 100);  // not base64 at all
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::exhausted);
  }
}

}  // namespace
}  // namespace quern
