# SPDX-License-Identifier: Apache-2.0
# What a wheel holds besides python/quern: the program in bin, and in lib/quern every library it is linked against, directly or not, but those of the C
# library, which belong to the system. Found there by a DT_RPATH, which, unlike a DT_RUNPATH, also counts for what those libraries need.
target_link_options(quern PRIVATE -Wl,--disable-new-dtags)
set_target_properties(quern PROPERTIES INSTALL_RPATH "$ORIGIN/../lib/quern")
install(TARGETS quern RUNTIME DESTINATION ${SKBUILD_SCRIPTS_DIR} COMPONENT wheel)
install(FILES ${pages}/quern.1 DESTINATION ${SKBUILD_DATA_DIR}/share/man/man1 COMPONENT wheel)
install(FILES ${pages}/quern DESTINATION ${SKBUILD_DATA_DIR}/share/bash-completion/completions COMPONENT wheel)
install(FILES ${pages}/_quern DESTINATION ${SKBUILD_DATA_DIR}/share/zsh/site-functions COMPONENT wheel)
install(FILES ${pages}/quern.fish DESTINATION ${SKBUILD_DATA_DIR}/share/fish/vendor_completions.d COMPONENT wheel)
# Each under its soname: archives of wheels know no links.
install(CODE "
  file(GET_RUNTIME_DEPENDENCIES EXECUTABLES \"$<TARGET_FILE:quern>\" RESOLVED_DEPENDENCIES_VAR found
    PRE_EXCLUDE_REGEXES \"^lib(c|m|dl|rt|pthread|resolv|util)[.]so\" \"^ld-linux\")
  foreach(library IN LISTS found)
    get_filename_component(name \${library} NAME)
    file(REAL_PATH \${library} file)
    file(INSTALL \${file} DESTINATION ${SKBUILD_DATA_DIR}/lib/quern RENAME \${name} TYPE FILE)
  endforeach()" COMPONENT wheel)
