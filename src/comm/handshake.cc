// SPDX-License-Identifier: Apache-2.0
#include "comm/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

constexpr std::string_view kMagic = "QRNK";
constexpr uint8_t kVersion = 1;
constexpr size_t kNonce = 32, kProof = 32, kBuild = 64, kMaxHello = 4'096;

enum class Verdict : uint8_t { welcome, other_version, other_build, wrong_secret };

struct Greeting {
  char magic[4];
  uint8_t version;
  char nonce[kNonce];
  char build[kBuild];
};
struct Reply {
  Verdict verdict;
  char nonce[kNonce];
  char proof[kProof];
  char build[kBuild];
};
struct Claim {
  char proof[kProof];
  uint16_t length;
};
static_assert(sizeof(Greeting) == 101 && sizeof(Reply) == 129);

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <typename T>
T read_one(const Socket& socket, int64_t deadline_us) {
  T out;
  socket.read_all(reinterpret_cast<char*>(&out), sizeof out, deadline_us);
  return out;
}

void fill_random(char* out, size_t size) {
  if (getrandom(out, size, 0) != static_cast<ssize_t>(size))
    fail(ErrorCode::unavailable, "handshake: the system gives no random numbers");
}

// Each side proves itself with a word of its own, so that a proof cannot be sent back.
std::array<char, kProof> prove(const Credentials& own,
                               std::string_view side,
                               const Greeting& greeting,
                               const Reply& reply,
                               std::string_view hello = {}) {
  std::string text(side);
  text.append(bytes_of(greeting)).append(reply.nonce, kNonce).append(hello);
  std::array<char, kProof> out{};
  unsigned size = kProof;
  HMAC(EVP_sha256(),
       own.secret.data(),
       static_cast<int>(own.secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()),
       text.size(),
       reinterpret_cast<unsigned char*>(out.data()),
       &size);
  return out;
}

bool is_proof(const char* got, const std::array<char, kProof>& expected) {
  return CRYPTO_memcmp(got, expected.data(), kProof) == 0;
}

void put_build(char (&out)[kBuild], const std::string& build) {
  QUERN_CHECK(build.size() <= kBuild, "a build of {} bytes", build.size());
  std::memset(out, 0, kBuild);
  std::memcpy(out, build.data(), build.size());
}

// For messages: what others send may hold anything.
std::string printable_build(const char (&build)[kBuild]) {
  std::string out;
  for (const char c : build)
    if (c > ' ' && c < '\x7f') out += c;
  return out;
}

[[noreturn]] void refuse(Verdict verdict, const std::string& theirs, const Credentials& own) {
  switch (verdict) {
    case Verdict::other_version:
      fail(ErrorCode::invalid_argument, "handshake: the other side speaks another version");
    case Verdict::other_build:
      fail(ErrorCode::invalid_argument,
           "handshake: the other side is another build ({}; this one is {}); run the same program "
           "on all machines",
           theirs,
           own.build);
    default:
      fail(ErrorCode::invalid_argument,
           "handshake: the other side has another secret; give all machines the same "
           "--cluster-secret-file");
  }
}

}  // namespace

void introduce(const Socket& socket,
               const Credentials& own,
               std::string_view hello,
               int timeout_ms) {
  QUERN_CHECK(hello.size() <= kMaxHello, "a hello of {} bytes", hello.size());
  const int64_t deadline_us = deadline_after(timeout_ms);
  Greeting greeting{};
  std::memcpy(greeting.magic, kMagic.data(), kMagic.size());
  greeting.version = kVersion;
  fill_random(greeting.nonce, kNonce);
  put_build(greeting.build, own.build);
  socket.write_all(bytes_of(greeting), deadline_us);
  const auto reply = read_one<Reply>(socket, deadline_us);
  if (reply.verdict != Verdict::welcome) refuse(reply.verdict, printable_build(reply.build), own);
  if (!is_proof(reply.proof, prove(own, "listener", greeting, reply)))
    refuse(Verdict::wrong_secret, "", own);
  Claim claim{};
  const auto proof = prove(own, "connector", greeting, reply, hello);
  std::memcpy(claim.proof, proof.data(), kProof);
  claim.length = static_cast<uint16_t>(hello.size());
  socket.write_all(bytes_of(claim), deadline_us);
  socket.write_all(hello, deadline_us);
  if (const auto verdict = read_one<Verdict>(socket, deadline_us); verdict != Verdict::welcome)
    refuse(verdict, "", own);
}

std::string welcome(const Socket& socket, const Credentials& own, int timeout_ms) {
  const int64_t deadline_us = deadline_after(timeout_ms);
  const auto greeting = read_one<Greeting>(socket, deadline_us);
  if (std::string_view(greeting.magic, sizeof greeting.magic) != kMagic)
    fail(ErrorCode::invalid_argument, "handshake: not a rank of quern");
  Reply reply{};
  put_build(reply.build, own.build);
  reply.verdict = greeting.version != kVersion                            ? Verdict::other_version
                  : std::memcmp(greeting.build, reply.build, kBuild) != 0 ? Verdict::other_build
                                                                          : Verdict::welcome;
  if (reply.verdict != Verdict::welcome) {
    socket.write_all(bytes_of(reply), deadline_us);
    refuse(reply.verdict, printable_build(greeting.build), own);
  }
  fill_random(reply.nonce, kNonce);
  const auto proof = prove(own, "listener", greeting, reply);
  std::memcpy(reply.proof, proof.data(), kProof);
  socket.write_all(bytes_of(reply), deadline_us);
  const auto claim = read_one<Claim>(socket, deadline_us);
  if (claim.length > kMaxHello)
    fail(ErrorCode::invalid_argument, "handshake: a hello of {} bytes", claim.length);
  std::string hello(claim.length, '\0');
  socket.read_all(hello.data(), hello.size(), deadline_us);
  const bool is_known = is_proof(claim.proof, prove(own, "connector", greeting, reply, hello));
  const Verdict verdict = is_known ? Verdict::welcome : Verdict::wrong_secret;
  socket.write_all(bytes_of(verdict), deadline_us);
  if (!is_known) refuse(verdict, "", own);
  return hello;
}

std::string make_secret() {
  std::string out(kNonce, '\0');
  fill_random(out.data(), out.size());
  return out;
}

}  // namespace quern
