# Text files as C strings: events/sql/append.sql becomes `extern const char sb_sql_append[]`,
# declared in the generated header "<room>_sql.h" of that room.
set(SB_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)

# sb_embed_sql(ROOM FILES...): adds the strings to target sb_<room>.
function(sb_embed_sql room)
    set(_out ${CMAKE_CURRENT_BINARY_DIR}/${room}_sql)
    set(_files ${ARGN})
    list(TRANSFORM _files PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
    add_custom_command(
        OUTPUT ${_out}.c ${_out}.h
        COMMAND ${CMAKE_COMMAND} "-DFILES=${_files}" -DOUT=${_out} -DROOM=${room} -DKIND=sql -P ${SB_EMBED_SCRIPT}
        DEPENDS ${_files} ${SB_EMBED_SCRIPT} VERBATIM)
    target_sources(sb_${room} PRIVATE ${_out}.c ${_out}.h)
    set_property(GLOBAL APPEND PROPERTY SB_SQL_ROOMS ${room})
    target_include_directories(sb_${room} PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
endfunction()

# sb_embed_text(ROOM FILE): the text of a file as `extern const char sb_text_<stem>[]`, declared in "<room>_text.h".
function(sb_embed_text room file)
    set(_out ${CMAKE_CURRENT_BINARY_DIR}/${room}_text)
    set(_file ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    add_custom_command(
        OUTPUT ${_out}.c ${_out}.h
        COMMAND ${CMAKE_COMMAND} "-DFILES=${_file}" -DOUT=${_out} -DROOM=${room} -DKIND=text -P ${SB_EMBED_SCRIPT}
        DEPENDS ${_file} ${SB_EMBED_SCRIPT} VERBATIM)
    target_sources(sb_${room} PRIVATE ${_out}.c ${_out}.h)
    target_include_directories(sb_${room} PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
