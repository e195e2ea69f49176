// SPDX-License-Identifier: Apache-2.0
// Which package an app's name stands for, and back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern::agent {

struct AppName {
  std::string name, package;
};

class AppTable {
 public:
  // `own`: further names, which come first. Throws invalid_argument for what is no package.
  explicit AppTable(std::vector<AppName> own);

  // By name, case aside, or a package's name itself; empty: unknown.
  std::string package_of(std::string_view name) const;
  // The first name of a package; "System Home" for a package without one, as the published client
  // has it.
  std::string name_of(std::string_view package) const;

 private:
  std::vector<AppName> apps_;
};

// "a.b", letters, digits and '_' between dots: what may stand in a command.
bool is_package(std::string_view text);

// The package in front, from what `dumpsys window` prints; empty: none is named.
std::string focused_package(std::string_view dump);

}  // namespace quern::agent
