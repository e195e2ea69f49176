// SPDX-License-Identifier: Apache-2.0
// quern repair: pads the gated MLP of a checkpoint so that it divides among ranks, and proves it.
#include "quantize/repair.h"
#include "quantize/convert.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "commands.h"
#include "exit_codes.h"
#include "version.h"

namespace quern {
namespace {

struct RepairOptions {
  RepairRequest request;
  std::string layout = "tail";
  std::string to;
  bool undo = false, verify_only = false, no_logits = false;
};

void print(const Certificate& c) {
  std::printf("intermediate_size  %lld -> %lld (%s, granule %lld, %lld layers)\n",
              static_cast<long long>(c.intermediate),
              static_cast<long long>(c.padded),
              c.is_interleaved ? "interleaved" : "tail",
              static_cast<long long>(c.granule),
              static_cast<long long>(c.modules));
  for (const auto& [key, value] : c.findings) std::printf("%s: %s\n", key.c_str(), value.c_str());
}

int run_repair(RepairOptions& o) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error of write()
  RepairRequest& r = o.request;
  r.is_interleaved = o.layout == "interleaved";
  r.checks_logits = !o.no_logits;
  r.tool = "quern " + std::string(kVersion);
  if (!o.to.empty()) {
    for (const auto& [key, value] :
         convert({.model = r.model, .out = r.out, .to = o.to, .checks_logits = r.checks_logits}))
      std::printf("%s: %s\n", key.c_str(), value.c_str());
    std::printf("%s: %s as %s\n", r.out.c_str(), r.model.c_str(), o.to.c_str());
  } else if (o.undo) {
    const Certificate c = undo_repair(r.model, r.out);
    std::printf("%s: the original of %s, %zu files by their hashes\n",
                r.out.c_str(),
                r.model.c_str(),
                c.files.size() + c.carried.size());
  } else if (o.verify_only) {
    print(verify_repair(r.out, r.model, r.checks_logits));
    std::printf("%s: is %s with added zeros\n", r.out.c_str(), r.model.c_str());
  } else {
    print(repair(r));
    std::printf(
        "%s: written, with its certificate %s/quern-repair.json\n", r.out.c_str(), r.out.c_str());
  }
  return kExitDone;
}

}  // namespace

void add_repair_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<RepairOptions>();
  CLI::App* command = parent.add_subcommand(
      "repair",
      "pad the gated MLP of a checkpoint with exact zeros, so that it divides among ranks");
  command
      ->add_option(
          "MODEL", o->request.model, "the folder of the checkpoint; with --undo a repaired one")
      ->required();
  command->add_option("OUT", o->request.out, "the folder to write; it must not exist")->required();
  auto* multiple =
      command
          ->add_option("--intermediate-multiple",
                       o->request.multiple,
                       "pad intermediate_size to a multiple of N (and of whole groups)")
          ->check(CLI::Range(1, 1 << 20));
  auto* degrees =
      command
          ->add_option(
              "--for-tp",
              o->request.degrees,
              "pad to the smallest size that gives whole groups to each rank at all of these "
              "degrees: 2,4,8")
          ->delimiter(',')
          ->excludes(multiple);
  command
      ->add_option("--layout",
                   o->layout,
                   "tail: zeros behind all channels; interleaved: at the end of each rank's part")
      ->capture_default_str()
      ->check(CLI::IsMember({"tail", "interleaved"}));
  auto* undo = command->add_flag(
      "--undo", o->undo, "MODEL is a repaired folder: write its original to OUT, bit for bit");
  undo->excludes(multiple)->excludes(degrees);
  command
      ->add_option("--to",
                   o->to,
                   "instead write the same 4-bit weights as awq, gptq or compressed-tensors, where "
                   "that is exact")
      ->check(CLI::IsMember({"awq", "gptq", "compressed-tensors"}))
      ->excludes(multiple)
      ->excludes(degrees)
      ->excludes(undo);
  command
      ->add_flag(
          "--verify-only", o->verify_only, "prove an existing OUT against MODEL, write nothing")
      ->excludes(undo);
  command->add_flag("--no-logits",
                    o->no_logits,
                    "leave out running both models, where they do not fit in memory");
  command->callback([o, &exit_code] { exit_code = run_repair(*o); });
}

}  // namespace quern
